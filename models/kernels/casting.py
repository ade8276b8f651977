"""Arrays of one number type as arrays of another: float32, float16, bfloat16.

Why a kernel: on a CPU Jittor makes a bfloat16 by cutting off digits. What is computed after a long chain of such
numbers has drifted; a GPU rounds to the nearest, and so does this. Everything else is Jittor's own cast.
"""
from models.kernels.launch import code, gpu, include
from runtime.backend import jt


def to(array, dtype):
    """array as numbers of a type, the nearest there are: itself where it has them. Differentiable."""
    if str(array.dtype) == str(dtype):
        return array
    if "bfloat16" in (str(array.dtype), str(dtype)) and not gpu():
        return Cast()(array, str(dtype))
    return array.cast(str(dtype))


def kernel_dtype(array):
    """The type in which a kernel reads and writes an array like this: on a CPU always float32."""
    return str(array.dtype) if gpu() else "float32"


def inference_dtype(array):
    """The same for a kernel without gradient that on a CPU reads and writes bfloat16 too."""
    return str(array.dtype) if gpu() or str(array.dtype) == "bfloat16" else "float32"


def to_float32(array):
    """The array as float32, for Jittor's own arithmetic, to be cast back afterwards: it is one operator with both
    casts, while of 16-bit numbers some operators do not compile and others round in between."""
    return to(array, "float32")


class Cast(jt.Function):
    """A cast from or to bfloat16 on a CPU, whose gradient is rounded to the nearest number too."""

    def execute(self, array, dtype):
        """array, dtype -> its numbers of that type."""
        self.before = str(array.dtype)
        return nearest(array, dtype)

    def grad(self, gradient):
        """dL/d result -> dL/d array."""
        return nearest(gradient, self.before), None


def nearest(array, dtype):
    """The cast without its gradient."""
    if dtype != "bfloat16":
        return array.cast(dtype)
    array = array.cast("float32")
    return code([array.shape], [dtype], [array], include("include/device", "casting"),
                cpu="iidm::to_bf16_cpu(in0_p, iidm::numbers(out0_p), in0->num);", cuda=None)[0]
