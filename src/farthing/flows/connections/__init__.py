"""Connections: where models and services are, and the keys to them."""
