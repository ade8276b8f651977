"""Training: one file per network with its visible loop, the optimiser, moving averages, and the folder a run lives in."""
