"""Growing: a bank and new pictures, or several banks, come in; one bank goes out (§2.2)."""
