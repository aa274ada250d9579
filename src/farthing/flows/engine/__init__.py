"""Runs lines: what waits for what, threads and the loop."""
