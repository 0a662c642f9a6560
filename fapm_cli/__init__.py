"""Fast adaptive patch memory for visual inspection (Kim et al., ICASSP 2023)."""

__version__ = "0.1.0"
