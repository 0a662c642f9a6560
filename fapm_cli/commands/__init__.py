"""The commands: each parses its arguments, calls the Python door and prints. One file each.

``cli.py`` registers them. What ``fapm score`` finds leaves through ``writers``: a sink of results,
stdout in some format or another, is a ``Writer`` named there.
"""
