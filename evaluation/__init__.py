"""Scores of images: the networks that measure, the metrics, the sheets to look at."""
