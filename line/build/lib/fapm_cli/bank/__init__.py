"""The bank: what was learnt, in memory and as a file."""
