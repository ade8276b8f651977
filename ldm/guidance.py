"""Classifier-free guidance (Ho & Salimans 2022). The winning entry used it; the paper does not mention it."""
from runtime.backend import jt


def guided(model, scale, interval=(), rescale=0.0):
    """A callable (z, t, labels) -> eps (B, C, h, w) that follows the mask `scale` times as much as the model
    learnt to. Scale 1 is one call.

    interval: (low, high), the t between which guidance is used, all others being one call; () = everywhere
    (Kynkaanniemi et al. 2024, "Applying Guidance in a Limited Interval"). rescale: phi, 0 to 1, see rescaled().
    A model may share work between its two calls: its branches(z, t, labels) is used where there is one.
    """
    def eps_model(z, t, labels):
        if not guides(scale, interval, t):
            return eps_channels(model(z, t, labels), z)
        eps_c, eps_u = (eps_channels(out, z) for out in branches(model, z, t, labels))
        eps = eps_u + scale * (eps_c - eps_u)                                 # Eq. (6) of theirs, scale = 1 + w
        return rescaled(eps, eps_c, rescale) if rescale else eps

    return eps_model


def guided_in(model, round_):
    """The model guided as a RoundConfig says. A student (ldm/distillation.py) has its guidance in its weights: one call."""
    if round_.sampler == "distilled":
        return guided(model, 1)
    return guided(model, round_.guidance, round_.guidance_interval, round_.guidance_rescale)


def guides(scale, interval, t):
    """Whether a step at t takes two calls."""
    return scale != 1 and (not interval or interval[0] <= t <= interval[1])


def branches(model, z, t, labels):
    """A model's outputs with the mask and without (labels -1), each (B, C or 2C, h, w)."""
    if hasattr(model, "branches"):
        return model.branches(z, t, labels)
    # Two calls, not one of 2B rows: half the memory, and the same numbers whatever the batch.
    return model(z, t, labels), model(z, t, labels * 0 - 1)


def rescaled(eps, eps_c, phi):
    """Guided noise with `phi` of the way back to the deviation that the unguided one has over each picture (Lin et
    al. 2023, "Common Diffusion Noise Schedules and Sample Steps are Flawed", Eqs. (15), (16))."""
    return (phi * deviation(eps_c) / deviation(eps) + (1 - phi)) * eps


def deviation(eps):
    """Standard deviation over each picture, (B, 1, 1, 1)."""
    return jt.sqrt(((eps - eps.mean(dims=(1, 2, 3), keepdims=True)) ** 2).mean(dims=(1, 2, 3), keepdims=True))


def eps_channels(out, z):
    """A model's output without its variance channels. out: (B, C or 2C, h, w); z: (B, C, h, w)."""
    channels = z.shape[1]
    assert out.shape[1] in (channels, 2 * channels), (out.shape, z.shape)
    return out if out.shape[1] == channels else out[:, :channels]
