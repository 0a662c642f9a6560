"""Serving: banks in a process that runs for months; pictures and decisions come in, records out.

``service`` is all of it without a network; ``http`` puts it on one, and ``page`` is what an
operator sees. What a picture's record says is settled in ``detection/``, as for ``fapm score``.
"""
