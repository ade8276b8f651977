"""Multi-head attention of many queries to few keys (Vaswani et al. 2017, Eq. 1), for inference.

    out = v softmax(q^T k / sqrt(D))^T   per head; q (D, L), k and v (D, M)

Why a kernel: as in models/kernels/attention.py, Jittor sends only 2-D products to oneDNN; and here the scores, L x M of
every head, would be most of the memory of a network on a large image. 16,384 queries of width 32 to 256 keys take 3.3 ms on
2 busy cores, the reference 35 ms. On a GPU the reference runs.
"""
import math

from models.kernels.launch import choose, include
from models.kernels.turn import turn
from runtime.backend import jt, nn


def cross_attention(q, k, v, heads, impl="auto"):
    """q (B, heads * D, L), k and v (B, heads * D, M), float32 -> (B, heads * D, L).

    Differentiable by the reference, which is taken outside of jt.no_grad(). Raises ValueError on other shapes.
    """
    if len(q.shape) != 3 or q.shape[1] % heads or list(k.shape) != list(v.shape) or list(k.shape[:2]) != list(q.shape[:2]):
        raise ValueError(f"cross_attention: expected q (B, heads * D, L), k and v (B, heads * D, M) with {heads} heads, got "
                         f"{tuple(q.shape)}, {tuple(k.shape)} and {tuple(v.shape)}")
    return (cross_attention_kernel if choose(impl, gradient=False) else cross_attention_reference)(q, k, v, heads)


def cross_attention_reference(q, k, v, heads, block=1024):
    """The right answer in plain Jittor; `block`: queries at a time."""
    batch, channels, length = q.shape
    width = channels // heads
    q = turn(q.reshape(batch * heads, width, length)) / math.sqrt(width)               # (B h, L, D)
    k, v = (x.reshape(batch * heads, width, -1) for x in (k, v))                        # (B h, D, M)
    out = []
    for start in range(0, length, block):
        p = nn.softmax(nn.bmm(q[:, start:start + block], k), dim=-1)                   # (B h, block, M)
        out.append(nn.bmm(v, turn(p)))                                                 # (B h, D, block)
    out = jt.concat(out, dim=2) if len(out) > 1 else out[0]
    return out.reshape(batch, channels, length)


def cross_attention_kernel(q, k, v, heads):
    """The same by the kernel in cross_attention.cuh."""
    return jt.code(q.shape, "float32", [q, k, v], cpu_header=HEADER, data={"heads": heads},
                   cpu_src="iidm::cross_attention_cpu(iidm_cross_attention(in0, in1, data), in0_p, in1_p, in2_p, out0_p);")


HEADER = include("cross_attention") + """
#define iidm_cross_attention(q, k, data) iidm::CrossAttention{q->shape[0] * int64_t(data["heads"]), \\
    q->shape[1] / int64_t(data["heads"]), q->shape[2], k->shape[2]}
"""
