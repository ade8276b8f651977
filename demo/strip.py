"""One picture on its way: the noised start of every round, what the network takes the picture to be at some of its steps, and
the round's result."""
import numpy as np

from data.landscape import find_test, read_image, read_labels
from ldm.algorithm2 import synthesise
from ldm.pixels import to_uint8
from ldm.schedule import alpha_bar_at
from runtime import pictures
from sampling.networks import load_networks, settings
from sampling.painting import reference_labels

SHOWN = 4  # steps of a round


class Watched:
    """A model for synthesise that keeps what it was asked and answered, [(t, z_t, eps)], of a guidance scale."""

    def __init__(self, model, scale):
        self.model, self.scale, self.calls = model, scale, []

    def branches(self, z, t, labels):
        """z (B, C, h, w), t, labels -> eps with and without the mask."""
        eps_c, eps_u = self.model.branches(z, t, labels)
        self.calls.append((t, z, eps_u + self.scale * (eps_c - eps_u)))
        return eps_c, eps_u


def strip(checkpoint, test_path, img_path, path):
    """Paints the first mask of a test folder and writes the picture of how it came about. Its rounds are guided."""
    config, weights = settings(checkpoint)
    net, rounds = load_networks(config, checkpoint, weights), config.sampling.rounds
    case = find_test(test_path, img_path)[0]
    height, width, factor = config.data.height, config.data.width, config.label_factor
    reference, mask = read_image(case.reference, height, width), read_labels(case.mask, height, width)
    labels = read_labels(case.mask, height // factor, width // factor)
    results, watched = [], Watched(net.unet, rounds[0].guidance)

    def decode(z_0):
        x = net.decode(z_0)
        results.append(to_uint8(x)[0])
        return x

    synthesise(net.encode, decode, watched, reference[None], labels[None], [case.stem], config.sampling, net.schedule,
               config.unet.latent_channels, latent_size=config.latent_size, reference_labels=reference_labels([case], config))
    rows, calls = [[pictures.colour_labels(mask), reference]], iter(watched.calls)
    for round_, result in zip(rounds, results):
        steps = [next(calls) for _ in range(round_.steps)]
        row = [to_uint8(net.decode(steps[0][1]))[0]]                                    # z_T of Eq. (1)
        for i in np.linspace(0, len(steps) - 2, SHOWN).astype(int):
            t, z, eps = steps[i]
            alpha_bar = float(alpha_bar_at(net.schedule, t))
            row.append(to_uint8(net.decode((z - (1 - alpha_bar) ** 0.5 * eps) / alpha_bar ** 0.5))[0])   # predicted z_0
        rows.append([*row, result])
    names = ["mask, reference", *(f"round {k + 1}" for k in range(len(results)))]
    pictures.save(path, pictures.grid(rows, row_captions=names, scale=0.5))
