"""Painting: loading the networks, batches of images, best of N, the submission."""
