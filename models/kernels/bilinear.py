"""Bilinear resizing of images, and of logits from which only the largest is wanted.

Why a kernel: Jittor's own computes every coordinate again for every channel, in float32, and reads zeros beyond the border
when it makes an image smaller; 256 channels from 16x16 to 128x128 take it 17 ms on 2 busy cores, and here 0.8 ms. And 150
logits for every pixel of a 512x384 image are 118 MB, written and read several times, where a class per pixel is asked for:
label_map holds a row of them, 11 ms where the reference takes 171 ms. On a GPU the references run.
"""
import numpy as np

from models.kernels.launch import choose, include
from runtime.backend import jt


def taps(before, after, align_corners=False):
    """Where each of `after` positions lies among `before` ones: low, high (after,) int32 and share (after,) float32."""
    positions = np.arange(after, dtype=np.float64)
    if align_corners:
        positions *= (before - 1) / max(1, after - 1)
    else:
        positions = np.clip((positions + 0.5) * before / after - 0.5, 0, before - 1)
    low = np.floor(positions).astype(np.int32).clip(0, before - 1)
    return low, np.minimum(low + 1, before - 1).astype(np.int32), (positions - low).astype(np.float32)


def resize(x, size, align_corners=False, impl="auto"):
    """x (B, C, h, w) float32 -> (B, C, *size), with the images' borders aligned or the centres of their corner pixels.

    Differentiable by the reference, which is taken outside of jt.no_grad(). Raises ValueError on other shapes.
    """
    rows, columns = tables(x, size, align_corners)
    return (resize_kernel if choose(impl, gradient=False) else resize_reference)(x, rows, columns)


def label_map(logits, size, impl="auto"):
    """logits (B, K, h, w) float32 -> (B, *size) int32, the class with the largest logit once they have that size (borders
    aligned), the first one of equals. Raises ValueError on other shapes."""
    rows, columns = tables(logits, size, align_corners=False)
    return (label_map_kernel if choose(impl) else label_map_reference)(logits, rows, columns)


def tables(x, size, align_corners):
    """The taps of rows and columns, as Vars, for x (B, C, h, w) and a size (H, W)."""
    if len(x.shape) != 4 or len(size) != 2 or min(size) < 1:
        raise ValueError(f"resize: expected (B, C, h, w) and a size (H, W), got {tuple(x.shape)} and {tuple(size)}")
    return [[jt.array(table) for table in taps(before, after, align_corners)] for before, after in zip(x.shape[2:], size)]


def resize_reference(x, rows, columns):
    """The right answer: rows, then columns, gathered and mixed."""
    low, high, share = rows
    x = x[:, :, low] + share.reshape(1, 1, -1, 1) * (x[:, :, high] - x[:, :, low])
    low, high, share = columns
    return x[:, :, :, low] + share.reshape(1, 1, 1, -1) * (x[:, :, :, high] - x[:, :, :, low])


def resize_kernel(x, rows, columns):
    """The same by the kernel in bilinear.cuh."""
    return jt.code([*x.shape[:2], rows[0].shape[0], columns[0].shape[0]], "float32", [x, *rows, *columns], cpu_header=HEADER,
                   cpu_src="iidm::resize_cpu(iidm_rows, iidm_columns, in0_shape0 * in0_shape1, in0_shape2, in0_shape3, in0_p, "
                           "out0_p);")


def label_map_reference(logits, rows, columns):
    """The right answer: all logits resized, then their argmax."""
    return jt.argmax(resize_reference(logits, rows, columns), 1)[0]


def label_map_kernel(logits, rows, columns):
    """The same by the kernel in bilinear.cuh."""
    return jt.code([logits.shape[0], rows[0].shape[0], columns[0].shape[0]], "int32", [logits, *rows, *columns],
                   cpu_header=HEADER, cpu_src="iidm::label_map_cpu(iidm_rows, iidm_columns, in0_shape0, in0_shape1, "
                                              "in0_shape2, in0_shape3, in0_p, out0_p);")


HEADER = include("bilinear") + """
#define iidm_rows iidm::Taps{in1_p, in2_p, in3_p, in1_shape0}
#define iidm_columns iidm::Taps{in4_p, in5_p, in6_p, in4_shape0}
"""
