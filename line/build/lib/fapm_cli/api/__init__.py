"""The Python door: learn a bank, load it, judge pictures, look at what was found.

Pictures are paths, PIL pictures and arrays (height, width, 3) uint8 RGB alike, of any size; places
and sizes are those of the picture as it was given. What is not said is as on the command line, and
scores are the same to the last bit.
"""
