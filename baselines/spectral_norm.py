"""Spectral normalisation (Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks"),
as stored and used by the published networks: `weight_orig`, and unit vectors `weight_u`, `weight_v` that one
power iteration moves at every forward pass in training. Evaluation takes them as they are."""
from models.kernels.conv import conv2d
from runtime.backend import jt, nn

EPS = 1e-12                # of the vectors' lengths
STORED = "weight_u", "weight_v"


class SpectralConv(nn.Module):
    """Convolution whose weight is divided by its largest singular value."""

    def __init__(self, inputs, outputs, kernel=3, stride=1, padding=None, bias=True):
        super().__init__()
        self._geometry = stride, kernel // 2 if padding is None else padding
        if bias:
            self.bias = jt.zeros((outputs,))
        self.weight_orig = jt.zeros((outputs, inputs, kernel, kernel))
        self.weight_u = jt.zeros((outputs,)).stop_grad()
        self.weight_v = jt.zeros((inputs * kernel * kernel,)).stop_grad()
        self._bias = None if bias else jt.zeros((outputs,)).stop_grad()

    def execute(self, x):
        """x (B, Cin, H, W) -> (B, Cout, H', W')."""
        return conv2d(x, self.weight(), self.bias if self._bias is None else self._bias, *self._geometry)

    def weight(self):
        """W / sigma, (Cout, Cin, k, k); in training after one power iteration, through which no gradient
        goes."""
        matrix = self.weight_orig.reshape(self.weight_orig.shape[0], -1)
        if self.training:
            fixed = matrix.detach()
            v = unit(transposed_product(fixed, self.weight_u)).stop_grad()
            u = unit(product(fixed, v)).stop_grad()
            self.weight_u.update(u)
            self.weight_v.update(v)
        else:
            u, v = self.weight_u, self.weight_v
        sigma = (u * product(matrix, v)).sum()
        return self.weight_orig / sigma


def product(matrix, v):
    """W v of W (M, N) and v (N,)."""
    return (matrix * v.unsqueeze(0)).sum(1)


def transposed_product(matrix, u):
    """W^T u of W (M, N) and u (M,)."""
    return (matrix * u.unsqueeze(1)).sum(0)


def unit(vector):
    """A vector at length 1."""
    return vector / jt.maximum(jt.sqrt((vector * vector).sum()), EPS)
