"""Evaluation: a labelled dataset comes in, figures and plots go out (§3).

Datasets are read in ``datasets``, one file a layout.
"""
