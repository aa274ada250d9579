"""Runs over data: lines, column mapping, and what is kept of them."""
