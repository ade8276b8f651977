"""The networks that measure: Inception, SegFormer, NIMA, DeepLab, LPIPS."""
