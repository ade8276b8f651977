"""The networks: SDM U-Net, autoencoders. They know nothing of noise levels and paths."""
