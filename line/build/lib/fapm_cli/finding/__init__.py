"""Finding: paths come in, the files that may hold pictures go out; what is left out is counted.

A new picture format is a row in ``kinds``.
"""
