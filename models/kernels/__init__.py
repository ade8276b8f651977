"""One kernel per pair of files: NAME.py (checks, reference, launcher) and NAME.cuh (the arithmetic)."""
