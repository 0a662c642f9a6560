"""Compute: which device, in which precision, on how many cores, and how long it took."""
