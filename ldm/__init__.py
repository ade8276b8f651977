"""Diffusion: schedules, losses, samplers, guidance, colour transfer, Algorithm 2. It knows nothing of layers."""
