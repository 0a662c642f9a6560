"""A line: ``fapm.toml`` comes in; its banks, sources, sinks and service go out, checked.

``line`` is what a line is, ``keys`` what its file may hold, ``file`` reads that, ``check`` looks
whether all that it names is there.
"""
