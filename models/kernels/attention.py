"""Multi-head self-attention (Vaswani et al. 2017, Eq. 1) on channel-major images.

    out = v softmax(q^T k / sqrt(D))^T   per head; q, k, v (D, L)

Why a kernel: Jittor sends only 2-D products to oneDNN; batched ones become naive loops on the CPU, worst in the backward
pass (61 % of a training step). Here every product is a 2-D one on slices of the packed array, without copies, and the
scores of a block of queries are all that is held: 32 MB where the autoencoder's 12,288 x 12,288 matrix is 604 MB.
On a GPU the reference runs, on batched products, also a block of queries at a time. benchmarks/kernels.py measures both.
"""
import math

from models.kernels.launch import choose, include
from runtime.backend import jt, nn


def attention(qkv, heads, impl="auto"):
    """qkv (B, heads * 3 * D, L) float32, head by head D channels of q, of k, of v -> (B, heads * D, L).

    Differentiable. Raises ValueError on other shapes.
    """
    if len(qkv.shape) != 3 or qkv.shape[1] % (3 * heads):
        raise ValueError(f"attention: expected qkv (B, heads * 3 * D, L) with {heads} heads, got {tuple(qkv.shape)}")
    if choose(impl):
        return Attention(heads)(qkv)
    return attention_reference(qkv, heads)


def attention_reference(qkv, heads, block=1024):
    """The right answer in plain Jittor; `block`: queries at a time."""
    batch, channels, length = qkv.shape
    width = channels // (3 * heads)
    q, k, v = (part.reshape(batch * heads, width, length)
               for part in qkv.reshape(batch * heads, 3, width, length).split(1, dim=1))
    q = q.transpose(0, 2, 1) / math.sqrt(width)                                     # (B h, L, D)
    out = []
    for start in range(0, length, block):
        p = nn.softmax(nn.bmm(q[:, start:start + block], k), dim=-1)                # (B h, block, L)
        out.append(nn.bmm(v, p.transpose(0, 2, 1)))                                 # (B h, D, block)
    out = jt.concat(out, dim=2) if len(out) > 1 else out[0]
    return out.reshape(batch, heads * width, length)


class Attention(jt.Function):
    """The kernel as a differentiable function; keeps qkv only and computes the probabilities again going back."""

    def __init__(self, heads):
        super().__init__()
        self.heads = heads

    def execute(self, qkv):
        """qkv (B, heads * 3 * D, L) -> (B, heads * D, L)."""
        batch, channels, length = qkv.shape
        self.qkv = qkv
        return jt.code([batch, channels // 3, length], "float32", [qkv], cpu_header=HEADER, data={"heads": self.heads},
                       cpu_src="iidm::attention_cpu(iidm_attention(in0, data), in0_p, out0_p);")

    def grad(self, d_out):
        """dL/d out (B, heads * D, L) -> dL/d qkv."""
        qkv, self.qkv = self.qkv, None  # for one backward pass: held longer it would keep its memory
        return jt.code(qkv.shape, "float32", [qkv, d_out], cpu_header=HEADER, data={"heads": self.heads},
                       cpu_src="iidm::attention_grad_cpu(iidm_attention(in0, data), in0_p, in1_p, out0_p);")


HEADER = include("attention") + """
#define iidm_attention(qkv, data) iidm::Attention{qkv->shape[0], int64_t(data["heads"]), \\
    qkv->shape[1] / (3 * int64_t(data["heads"])), qkv->shape[2]}
"""
