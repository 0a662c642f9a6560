"""Scores: distances come in, anomaly maps, image scores, regions and verdicts go out (§2.3)."""
