"""Evaluation: a labelled dataset comes in, figures and plots go out (§3)."""
