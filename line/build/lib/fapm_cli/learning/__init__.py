"""Learning: pictures of good parts come in, a bank goes out (§2.1, §2.2).

Keys, each patch's own metric (beyond the paper), and what good parts do among themselves, which
calibrates scores and sets the thresholds.
"""
