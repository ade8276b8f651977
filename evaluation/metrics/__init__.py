"""Scores of generated images. They know nothing of training."""
