"""A GAN of Table 1 as it is saved and painted with: the generator and, where it has one, the style encoder
beside it."""
import numpy as np

from baselines.layers import is_buffer
from baselines.networks import build_generator, initialise
from baselines.sean import CODE, counts, without_effect
from baselines.style_encoder import StyleEncoder, draw
from models.layers import parameters_of
from runtime.backend import jt, nn
from runtime.errors import UserError

FORGETS = 0.01         # share of a batch in SEAN's mean codes


class GAN(nn.Module):
    """generator.NAME and encoder.NAME, names as published; SEAN's mean code of each class, and how often it
    was seen."""

    def __init__(self, config):
        super().__init__()
        self._config = config
        self.generator = build_generator(config.generator)
        if config.generator.vae:
            self.encoder = StyleEncoder(config.encoder)
        if self.codes:
            self.mean_codes = jt.zeros((config.generator.classes, CODE)).stop_grad()
            self.codes_seen = jt.zeros((config.generator.classes,)).stop_grad()

    @property
    def codes(self):
        """Whether styles are codes of classes, which takes the reference's own mask."""
        return self._config.generator.family == "sean"

    @property
    def takes_reference(self):
        """Whether images depend on the reference at all."""
        return self.codes or self._config.generator.vae

    def encode(self, images, semantics, eps=None):
        """(style, mu, logvar) of images (B, 3, H, W) under their own masks; eps (B, 256) draws z, None takes
        its mean. None where there is no such thing."""
        if self.codes:
            return self.generator.Zencoder(images, semantics), None, None
        if not self._config.generator.vae:
            return None, None, None
        mu, logvar = self.encoder(images)
        return (mu if eps is None else draw(mu, logvar, jt.array(eps))), mu, logvar

    def reference_style(self, images, semantics, eps=None, where=()):
        """The style of references for other masks. A class that a reference lacks has the mean code of the
        training set; one that the training set lacks too, the mean of those that are known.

        where: names of the references, for the UserError of one without any class and no mean codes either.
        """
        style, _, _ = self.encode(images, semantics, eps)
        if not self.codes:
            return style
        codes, means, seen = style.numpy(), self.mean_codes.numpy(), self.codes_seen.numpy() > 0
        for i in range(len(codes)):
            absent = counts(semantics, semantics.size, i) == 0
            known = np.concatenate([codes[i][~absent], means[absent & seen]])
            if not len(known):
                name = where[i] if i < len(where) else f"reference {i}"
                raise UserError(f"{name}: its mask has no class, and the checkpoint no mean codes; expected either")
            codes[i][absent] = np.where(seen[absent, None], means[absent], known.mean(0))
        return jt.array(codes)

    def remember_codes(self, codes, semantics):
        """Moves the mean codes a little towards a batch's."""
        present = np.stack([counts(semantics, semantics.size, i) > 0 for i in range(semantics.batch)])        # (B, K)
        share = jt.array((present / np.maximum(present.sum(0), 1)).astype(np.float32))
        now, any_ = (codes.detach() * share.unsqueeze(2)).sum(0), jt.array(present.any(0).astype(np.float32))
        weight = (any_ * jt.maximum(1 / (self.codes_seen + 1), FORGETS)).unsqueeze(1)
        self.mean_codes.update((self.mean_codes + weight * (now - self.mean_codes)).stop_grad())
        self.codes_seen.update((self.codes_seen + any_).stop_grad())


def build_gan(config, seed=None):
    """The GAN of a GanConfig, drawn from a seed, or all zero without one."""
    gan = GAN(config)
    if seed is not None:
        for part in parts(gan).values():
            # SCGAN's generator initialises itself, before it is moved to a GPU.
            scale = "xavier" if part is gan.generator and config.generator.family == "scgan" else config.spectral_init
            initialise(part, seed, scale)
    return gan


def parts(gan):
    """{name: network} of a GAN."""
    return {"generator": gan.generator, **({"encoder": gan.encoder} if hasattr(gan, "encoder") else {})}


def trained(model):
    """{name: Var} of what gradients move."""
    return {name: var for name, var in parameters_of(model).items() if not is_buffer(name) and not without_effect(name)}


def statistics(model):
    """{name: Var} of the rest."""
    return {name: var for name, var in parameters_of(model).items() if is_buffer(name)}
