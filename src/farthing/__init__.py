"""Farthing gets the right answer from language models for the fewest tokens."""

__version__ = "0.1.0"
