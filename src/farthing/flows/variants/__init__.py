"""Variants of nodes compared: which combinations, what they share, how they did."""
