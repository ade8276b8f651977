"""Multi-head self-attention (Vaswani et al. 2017, Eq. 1) on channel-major images.

    out = v softmax(q^T k / sqrt(D))^T   per head; q, k, v (D, L)

Why a kernel: Jittor sends only 2-D products to oneDNN; batched ones become naive loops on the CPU, worst in the backward
pass (61 % of a training step). Here every product is a 2-D one on slices of the packed array, without copies, and the
scores of a block of queries are all that is held: 32 MB where the autoencoder's 12,288 x 12,288 matrix is 604 MB.
benchmarks/kernels.py measures both on a CPU. On a GPU the kernel takes heads of 32 or 64 channels, with tensor cores for
16-bit numbers; it is compiled and tested off a GPU, and not measured yet. Other heads, like the autoencoder's single one of
512, go to the reference there: batched products, a block of queries and of keys at a time. So does everything on a GPU
older than compute capability 8.0, whose tensor cores have neither that shape nor bfloat16.
"""
import math

from models.kernels.casting import kernel_dtype, to, to_float32
from models.kernels.launch import choose, code, gpu, include, oldest_gpu
from models.kernels.turn import turn
from runtime.backend import jt, nn
from runtime.processor import multiplies_bfloat16

WIDTHS = (32, 64)  # channels of a head that the CUDA version takes
KEYS = 8192        # a block of the reference: beyond 10,000 columns Jittor's softmax reads and writes the scores three times
OLDEST = 80        # the first architecture it compiles for


def attention(qkv, heads, impl="auto", last=False):
    """qkv (B, heads * 3 * D, L), head by head D channels of q, of k, of v -> (B, heads * D, L); last: (B, L, heads * 3 * D) ->
    (B, L, heads * D). float32, or 16-bit: summed in float32; probabilities are rounded to 16 bits on a GPU, and to bfloat16
    on a CPU that multiplies it, without gradient.

    Differentiable. Raises ValueError on other shapes.
    """
    if len(qkv.shape) != 3 or qkv.shape[2 if last else 1] % (3 * heads):
        form = "(B, L, heads * 3 * D)" if last else "(B, heads * 3 * D, L)"
        raise ValueError(f"attention: expected qkv {form} with {heads} heads, got {tuple(qkv.shape)}")
    width = qkv.shape[2 if last else 1] // (3 * heads)
    kernel = choose(impl, cuda=width in WIDTHS and oldest_gpu() >= OLDEST)
    if last:                                                # the arrays are small: they are turned round on a GPU too
        return turn(attention(turn(qkv), heads, impl))
    if kernel and str(qkv.dtype) == "bfloat16" and not gpu() and jt.flags.no_grad and multiplies_bfloat16():
        return attention_bf16(qkv, heads)
    return to(Attention(heads)(to(qkv, kernel_dtype(qkv))), qkv.dtype) if kernel else attention_reference(qkv, heads)


def attention_bf16(qkv, heads):
    """The kernel for bfloat16 on a CPU that multiplies it, without gradient: probabilities are rounded to bfloat16 too."""
    return code([[qkv.shape[0], qkv.shape[1] // 3, qkv.shape[2]]], [qkv.dtype], [qkv], HEADER_BF16,
                cpu="iidm::attention_bf16_cpu(iidm_attention(in0, data), iidm::numbers(in0_p), iidm::numbers(out0_p));",
                cuda=None, data={"heads": heads})[0]


def attention_reference(qkv, heads, block=1024, keys=KEYS):
    """The right answer in plain Jittor; block: queries at a time, keys: at most. The softmax is float32's whatever the
    products are."""
    dtype, qkv = qkv.dtype, to(qkv, kernel_dtype(qkv))
    batch, channels, length = qkv.shape
    width = channels // (3 * heads)
    q, k, v = (part.reshape(batch * heads, width, length)
               for part in qkv.reshape(batch * heads, 3, width, length).split(1, dim=1))
    q = to(to_float32(turn(q)) / math.sqrt(width), q.dtype)                        # (B h, L, D)
    out = []
    for start in range(0, length, block):
        out.append(attend(q[:, start:start + block], k, v, keys))                   # (B h, D, block)
    out = jt.concat(out, dim=2) if len(out) > 1 else out[0]
    return to(out.reshape(batch, heads * width, length), dtype)


def attend(q, k, v, keys):
    """q (N, Q, D), scaled, k and v (N, D, L) -> v softmax(q k)^T, (N, D, Q): blocks of equal size, of `keys` at most, are
    merged by the logarithms of their sums (Dao et al. 2022)."""
    blocks = -(-k.shape[2] // keys)
    size = -(-k.shape[2] // blocks)
    parts, sums = [], []
    for start in range(0, k.shape[2], size):
        scores = to_float32(nn.bmm(q, k[:, :, start:start + size]))                 # (N, Q, size)
        p = nn.softmax(scores, dim=-1)
        parts.append(nn.bmm(v[:, :, start:start + size], turn(to(p, v.dtype))))
        if blocks > 1:                                       # the largest probability is exp(largest score - log of the sum)
            sums.append(scores.max(-1) - jt.log(p.max(-1)))                         # (N, Q)
    if blocks == 1:
        return parts[0]
    weights = nn.softmax(jt.stack(sums, dim=1), dim=1)                              # (N, blocks, Q)
    return to(sum(weights[:, i:i + 1] * to_float32(part) for i, part in enumerate(parts)), v.dtype)


class Attention(jt.Function):
    """The kernel as a differentiable function; computes the probabilities again going back. Keeps qkv and, on a GPU, the
    result and the logarithm of every query's sum."""

    def __init__(self, heads):
        super().__init__()
        self.heads = heads

    def execute(self, qkv):
        """qkv (B, heads * 3 * D, L) -> (B, heads * D, L)."""
        batch, channels, length = qkv.shape
        out, lse = code([[batch, channels // 3, length], [batch * self.heads, length]], [qkv.dtype, "float32"], [qkv], HEADER,
                        cpu="iidm::attention_cpu(iidm_attention(in0, data), in0_p, out0_p);",
                        cuda="iidm::attention_cuda(iidm_attention(in0, data), in0_p, out0_p, out1_p);",
                        data={"heads": self.heads})
        self.saved = [qkv, out.detach(), lse] if gpu() else [qkv]
        return out

    def grad(self, d_out):
        """dL/d out (B, heads * D, L) -> dL/d qkv."""
        saved, self.saved = self.saved, None  # for one backward pass: held longer they would keep their memory
        qkv = saved[0]
        return code([qkv.shape, [qkv.shape[0] * self.heads, qkv.shape[2]]], [qkv.dtype, "float32"],
                    [to(d_out, qkv.dtype), *saved], HEADER,
                    cpu="iidm::attention_grad_cpu(iidm_attention(in1, data), in1_p, in0_p, out0_p);",
                    cuda="iidm::attention_grad_cuda(iidm_attention(in1, data), in1_p, in2_p, in3_p, in0_p, out1_p, out0_p);",
                    data={"heads": self.heads})[0]


SHAPE = """
#define iidm_attention(qkv, data) iidm::Attention{qkv->shape[0], int64_t(data["heads"]), \\
    qkv->shape[1] / (3 * int64_t(data["heads"])), qkv->shape[2]}
"""
HEADER = include("include/device", "attention", "include/fragments", "attention_cuda") + SHAPE
HEADER_BF16 = include("include/device", "attention", "attention_bf16") + SHAPE
