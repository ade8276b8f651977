"""Painting a mask in the browser and watching it become a landscape: `python -m studio`."""
