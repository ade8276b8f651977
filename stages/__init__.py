"""What train.py runs: one file per network, and the folder a run lives in."""
