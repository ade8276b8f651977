"""Experiments: one dataclass per section in schema.py, read by reading.py, one yaml each."""
