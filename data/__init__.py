"""The challenge's folders read and checked, the latent cache, synthetic landscapes."""
