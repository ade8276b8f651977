"""What all the networks of this folder share: batch and instance normalisation without weights, leaky ReLU,
exact means."""
from models.kernels.norm_modulate import norm_modulate
from runtime.backend import jt, nn

EPS = 1e-5                                          # of both normalisations
MOMENTUM = 0.1                                      # of the running statistics
VECTORS = "weight_u", "weight_v"                    # of spectral norm
# Last parts of the names of what no gradient moves: statistics, vectors, SEAN's mean codes.
BUFFERS = "running_mean", "running_var", *VECTORS, "mean_codes", "codes_seen"


class BatchNorm(nn.Module):
    """Batch normalisation without weights: statistics of the batch in training, running ones otherwise."""

    def __init__(self, channels):
        super().__init__()
        self.momentum = MOMENTUM
        self.running_mean = jt.zeros((channels,)).stop_grad()
        self.running_var = jt.ones((channels,)).stop_grad()

    def execute(self, x):
        """x (B, C, H, W) -> like x."""
        if not self.training:
            mean, var = (row.reshape(1, -1, 1, 1) for row in (self.running_mean, self.running_var))
            return (x - mean) / jt.sqrt(var + EPS)
        n = x.shape[0] * x.shape[2] * x.shape[3]
        mean = sums(x) / n                                                  # (1, C, 1, 1)
        centred = x - mean
        var = sums(centred * centred) / n                                   # biased
        for running, batch in ((self.running_mean, mean), (self.running_var, var * (n / (n - 1)))):
            batch = batch.detach().reshape(-1)
            running.update(((1 - self.momentum) * running + self.momentum * batch).stop_grad())
        return centred / jt.sqrt(var + EPS)


class InstanceNorm(nn.Module):
    """Instance normalisation in its place: it has no tensors."""

    def execute(self, x):
        """x (B, C, H, W) -> like x."""
        return instance_norm(x)


def free_norm(config, channels):
    """The normalisation without weights that a generator's conditional layers begin with."""
    return BatchNorm(channels) if config.norm == "batch" else InstanceNorm()


def sums(x):
    """(B, C, H, W) -> (1, C, 1, 1), as sums of row sums: one running float32 sum would be off in the fourth
    digit."""
    return x.sum(3, keepdims=True).sum(2, keepdims=True).sum(0, keepdims=True)


def mean(x):
    """The mean of an array (B, C, H, W), a scalar, as a mean of row means."""
    return sums(x).sum() / (x.shape[0] * x.shape[1] * x.shape[2] * x.shape[3])


def instance_norm(x):
    """x (B, C, H, W) -> every channel of every image at mean 0 and variance 1."""
    channels = x.shape[1]
    one, zero = jt.ones((channels,)).stop_grad(), jt.zeros((channels,)).stop_grad()
    return norm_modulate(x, one, zero, channels, EPS, act=False)


def leaky(x):
    """Leaky ReLU of slope 0.2, the authors' everywhere."""
    return nn.leaky_relu(x, 0.2)


def hardtanh(x):
    """x cut to [-1, 1]."""
    return jt.minimum(jt.maximum(x, -1), 1)


def is_buffer(name):
    """Whether a tensor of this name is a statistic: saved, but not trained."""
    return name.rpartition(".")[2] in BUFFERS


def set_training(model, on):
    """Batch statistics and power iteration (on), or the stored ones. Gradients are no matter of this:
    Jittor's own eval() would stop them for good."""
    for module in model.modules():
        module.training = on
