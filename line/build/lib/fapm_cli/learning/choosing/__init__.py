"""Choosing: what a bank finds in its own pictures of how to measure them, beyond the paper."""
