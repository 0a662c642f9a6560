"""The commands: each parses its arguments, calls the Python door and prints. One file each.

They are ``build``, ``grow`` (add and merge), ``calibrate``, ``score``, ``heatmap``, ``eval``,
``bench`` and ``info``; ``cli.py`` registers them. Parts of one are named after it, such as
``eval_table``; the other files are shared.

What ``fapm score`` finds leaves through ``writers``: a sink of results, stdout in some format or
another, is a ``Writer`` named there.
"""
