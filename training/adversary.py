"""A patch discriminator that an autoencoder is trained against (Esser et al. 2021, "Taming Transformers", section 3.1)."""
from ldm.losses import mean_per_sample
from models.discriminator import PatchDiscriminator
from models.layers import initialise, parameters_of
from runtime.backend import jt, nn
from training.adamw import AdamW

BETAS = 0.5, 0.9           # of its Adam, as published
LEAST, MOST = 1e-4, 1e4    # delta of Eq. (7), and the largest adaptive weight


class Adversary:
    """The discriminator and its optimiser. options: an AutoencoderStage."""

    def __init__(self, options, seed):
        self.options, self.model = options, PatchDiscriminator(options.discriminator)
        initialise(self.model, seed)
        jt.sync(list(parameters_of(self.model).values()))    # Jittor does not always compile what is made of arrays that wait
        self.optimizer = AdamW(parameters_of(self.model), betas=BETAS)

    def plays(self, step):
        """Whether it does in a step: from one on."""
        return step >= self.options.adversarial_start

    def loss(self, x, found):
        """{"d_real", "d_fake"} (B,): the hinge (Lim and Ye 2017) on images and on their reconstructions, both (B, 3, H, W)."""
        real, fake = self.model(x), self.model(found.detach())
        return {"d_real": 0.5 * mean_per_sample(nn.relu(1 - real)), "d_fake": 0.5 * mean_per_sample(nn.relu(1 + fake))}

    def against(self, found, losses_of, others, last):
        """The autoencoder's losses with the adversary's among them, {name: (B,)}, "loss" the one to go down.

        found: reconstructions (B, 3, H, W); losses_of: a function of them to {name: (B,)}; others: {name: (B,)} that do not
        depend on them; last: the decoder's last weights, by whose gradients the adversary's weight adapts.
        """
        # The losses are of a copy, so that each is gone through once: their slopes at the image are all that is below it.
        image = found.detach().start_grad()
        losses, deceived = losses_of(image), -mean_per_sample(self.model(image))
        slope, adverse = (jt.grad(loss.sum(), [image])[0].detach() for loss in (sum(losses.values()), deceived))
        weight = self.options.adversarial * adaptive_weight(found, slope, adverse, last)
        pulled = (found * (slope + weight * adverse)).sum(3).sum(2).sum(1) + sum(others.values())
        losses = {name: value.detach() for name, value in {**losses, **others, "adversarial": weight * deceived}.items()}
        # The slope of what is pulled, the value of what is lost.
        return {"loss": pulled - pulled.detach() + sum(losses.values()), **losses, "adaptive": weight}


def adaptive_weight(found, slope, adverse, last):
    """lambda of Eq. (7): as strong a pull on the last layer by the adversary as by the reconstruction's loss. found, and both
    losses' slopes at it: (B, 3, H, W) -> (1,)."""
    norms = []
    for direction in (slope, adverse):
        g = jt.grad((found * direction).sum() / found.shape[0], [last])[0]
        norms.append(jt.sqrt((g * g).sum()))
    return jt.clamp(norms[0] / (norms[1] + LEAST), 0, MOST).detach()
