"""The network: the backbone's input comes in, locally aware maps ψ go out (§2.1)."""
