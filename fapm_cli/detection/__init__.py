"""Detection: a bank on a device judges pictures, one or a stream of them (§2.3)."""
