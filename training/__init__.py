"""Training: one file per network with its visible loop, the optimiser, moving averages, the run's folder."""
