"""Classifier-free guidance (Ho & Salimans 2022). The winning entry used it; the paper does not mention it."""


def guided(model, scale):
    """A callable (z, t, labels) -> eps (B, C, h, w) that follows the mask `scale` times as much as the model learnt to.

    eps = eps_u + s (eps_c - eps_u), where eps_u sees no mask (labels -1); variance channels are dropped. Scale 1 is one
    call. A model with a method guided(z, t, labels, scale) -> (B, C or 2C, h, w) does it itself: it may share work
    between the two.
    """
    if scale == 1:
        return lambda z, t, labels: eps_channels(model(z, t, labels), z)
    if hasattr(model, "guided"):
        return lambda z, t, labels: eps_channels(model.guided(z, t, labels, scale), z)

    def guided_eps(z, t, labels):
        # Two calls, not one of 2B rows: half the memory, and the same numbers whatever the batch.
        eps_c = eps_channels(model(z, t, labels), z)
        eps_u = eps_channels(model(z, t, labels * 0 - 1), z)
        return eps_u + scale * (eps_c - eps_u)

    return guided_eps


def eps_channels(out, z):
    """The noise part of a model's output. out: (B, C or 2C, h, w); z: (B, C, h, w)."""
    channels = z.shape[1]
    assert out.shape[1] in (channels, 2 * channels), (out.shape, z.shape)
    return out if out.shape[1] == channels else out[:, :channels]
