"""Detection: a bank on a device judges pictures, one or a stream of them (§2.3).

``record`` makes plain values of what was found, for whatever sink takes them.
"""
