"""The version of fapm; written into every bank."""

__version__ = "0.1.0"
