"""Fitting: an input as it lies and is lit comes in, one as the good ones lie and are lit goes out.

Beyond the paper. Patches of their own, and a network that sees every grey level, want a part where
the good ones were, in their light. Both are told by the good pictures; what can't be fitted is left
as it is, and told.
"""
