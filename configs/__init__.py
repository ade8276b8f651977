"""Experiments: one dataclass per section in schema.py, one yaml each."""
