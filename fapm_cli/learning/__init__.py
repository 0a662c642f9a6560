"""Learning: pictures of good parts come in, a bank goes out (§2.1, §2.2).

Built at once, grown by pictures, or merged of several; and what good parts do among themselves,
which calibrates scores and sets the thresholds.
"""
