"""Scores: distances come in, anomaly maps, image scores, regions and verdicts go out (§2.3).

``scorer`` joins the layers to the anomaly map, which ``geometry`` brings to size; ``image_score``
and ``extents`` make one number of it, ``thresholds`` a verdict.
"""
