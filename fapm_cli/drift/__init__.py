"""Drift: records of a stream come in; whether, since when and what changed goes out.

``ranks`` places each value among those of before, ``course`` bets against chance on these places,
``drift`` does so for score, light, focus and position at once; ``reference`` is what a bank knows,
``history`` keeps what it takes to tell of a whole stream, ``log`` reads records that were written.
"""
