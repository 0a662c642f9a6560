"""Drawing: what was found comes in, heatmaps and a report for people go out."""
