"""What has to change in Jittor 1.3.11.0 before it starts on CUDA 13 or with cuDNN 9, each change tied to its error.

A Patch replaces `old`, which must occur exactly once in `file`, by `new`; a `new` of None removes the whole file. The
files are named as they lie in site-packages. runtime/cuda/patch.py applies the table to a copy, never to the installed package.
"""
from dataclasses import dataclass
from typing import Optional

JITTOR = "1.3.11.0"                       # the one version these texts were taken from


@dataclass(frozen=True)
class Patch:
    """One change. name: what the doctor shows; mends: the error that it takes away."""
    name: str
    mends: str
    file: str
    old: str = ""
    new: Optional[str] = None


CUDNN_NAMES = Patch(
    "cuDNN 9 library names",
    "libcudnn_ops_infer.so not found: cuDNN 9 split its libraries along other lines than cuDNN 8",
    "jittor/compile_extern.py",
    '''libs = ["libcudnn_ops_infer.so", "libcudnn_ops_train.so", "libcudnn_cnn_infer.so", "libcudnn_cnn_train.so"]
''',
    # Packages for running, without the development ones, have libcudnn_ops.so.9 but no libcudnn_ops.so.
    '''libs = ["libcudnn_graph.so", "libcudnn_ops.so", "libcudnn_cnn.so"]
                prefer_version = ("9",)
''')

RNN_WHY = "cudnnSetRNNDescriptor_v6, cudnnGetRNNParamsSize not declared: cuDNN 9 has no such functions; IIDM has no RNN"
RNN = [Patch("cuDNN's old RNN interface left out", RNN_WHY, f"jittor/extern/cuda/cudnn/{file}") for file in (
    "inc/cudnn_rnn_descriptor.h", "src/cudnn_rnn_descriptor.cc", "ops/cudnn_rnn_op.h", "ops/cudnn_rnn_op.cc",
    "ops/cudnn_rnn_backward_x_op.h", "ops/cudnn_rnn_backward_x_op.cc")]

DEVICE_PROPERTIES = Patch(
    "device properties",
    "cudaDeviceProp has no member computeMode, clockRate: gone in CUDA 13; nothing calls the functions that read them",
    "jittor/extern/cuda/inc/helper_cuda.h",
    '''#ifdef __CUDA_RUNTIME_H__
// General GPU Device CUDA Initialization
''',
    '''#if 0  // reads members of cudaDeviceProp that CUDA 13 does not have
// General GPU Device CUDA Initialization
''')

SOFTMAX_MAX = [
    Patch("cub::Max in softmax",
          "cub has no member Max: CCCL 3 (CUDA 13) took it out; every softmax over the last dimension uses it",
          "jittor/other/code_softmax.py",
          '''Reduce(v1, cub::Max());
''',
          '''Reduce(v1, LargerFloat());
'''),
    Patch("cub::Max in softmax", "the function object that stands in for cub::Max",
          "jittor/other/code_softmax.py",
          """#include <type/fp16_compute.h>
''', cuda_src=f'''
""",
          """#include <type/fp16_compute.h>
struct LargerFloat {{
    __device__ float operator()(float a, float b) const {{ return a < b ? b : a; }}
}};
''', cuda_src=f'''
""")]

WHERE_ITERATORS = [
    Patch("iterators of nonzero", "cub has no member CountingInputIterator: CCCL 3 (CUDA 13) keeps Thrust's only",
          "jittor/extern/cuda/cub/ops/cub_where_op.cc",
          '''    cub::CountingInputIterator<To> counting_itr(0);
    cub::TransformInputIterator<bool, NonZeroOp<Ti>, Ti*> itr(cond->ptr<Ti>(), NonZeroOp<Ti>());
''',
          '''    thrust::counting_iterator<To> counting_itr(0);
    auto itr = thrust::make_transform_iterator(cond->ptr<Ti>(), NonZeroOp<Ti>());
'''),
    Patch("iterators of nonzero", "the headers of Thrust's iterators", "jittor/extern/cuda/cub/ops/cub_where_op.cc",
          '''#include <thrust/transform.h>
''',
          '''#include <thrust/transform.h>
#include <thrust/iterator/counting_iterator.h>
#include <thrust/iterator/transform_iterator.h>
''')]

DEPTHWISE_LANE = Patch(
    "lane number in depthwise convolutions", "cub has no member LaneId: CCCL 3 (CUDA 13) took it out",
    "jittor/depthwise_conv.py",
    '''cub::LaneId()''',
    '''(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32''')

CPP17 = [
    Patch("C++17", "#error: CCCL 3 (CUDA 13) requires at least C++17", "jittor/compiler.py",
          '''cc_flags += " -Wall -Wno-unknown-pragmas -std=c++14 -fPIC "
''',
          '''cc_flags += " -Wall -Wno-unknown-pragmas -std=c++17 -fPIC "
'''),
    Patch("C++17", "nvcc was sent back to C++14, with an option of Microsoft's compiler", "jittor/compiler.py",
          '''        if nvcc_version >= [11,4]:
            nvcc_flags = nvcc_flags.replace("-std=c++17", "-std=c++14 -Xcompiler -std:c++14")
        else:
            nvcc_flags = nvcc_flags.replace("-std=c++17", "")
''',
          "")]

NPP = Patch(
    "npp.h",
    "npp.h: No such file: Jittor takes six integer limits from it, and neither small toolkits nor the wheels hold it",
    "jittor/src/misc/cuda_limits.h",
    '''#include <npp.h>
#include <math_constants.h>
#else
''',
    '''#include <math_constants.h>
#define 	NPP_MIN_32U   ( 0 )
#define 	NPP_MAX_32U   ( 4294967295U )
#define 	NPP_MIN_32S   (-2147483647 - 1 )
#define 	NPP_MAX_32S   ( 2147483647 )
#define 	NPP_MIN_64U   ( 0 )
#define 	NPP_MAX_64U   ( 18446744073709551615ULL )
#define 	NPP_MIN_64S   (-9223372036854775807LL - 1)
#define 	NPP_MAX_64S   ( 9223372036854775807LL )
#else
''')

ARCHITECTURES = [
    Patch("architectures that nvcc knows",
          "no kernel image is available: everything newer than Hopper was compiled as sm_90, which Blackwell does not run",
          "jittor/compiler.py",
          '''            if arch>max_arch:
                LOG.w(f"CUDA arch({arch})>{max_arch} will be backward-compatible")
                arch = max_arch
            archs.append(arch)
''',
          '''            if arch not in known_archs:
                LOG.w(f"CUDA arch({arch}) is unknown to this nvcc, its driver will compile PTX")
                arch = max(known for known in known_archs if known < arch)
            if arch not in archs:
                archs.append(arch)
'''),
    Patch("architectures that nvcc knows", "the table that ended at sm_90; nvcc itself is asked", "jittor/compiler.py",
          '''    max_arch = 90
    if nvcc_version < [11,]:
        max_arch = 75
    elif nvcc_version < [11,1]:
        max_arch = 80
    elif nvcc_version < [11,8]:
        max_arch = 86
''',
          '''    known_archs = [int(line.split("_")[1]) for line in run_cmd(f"\\"{nvcc_path}\\" --list-gpu-arch").split()]
'''),
    Patch("architectures that nvcc knows", "PTX beside the machine code, for GPUs that came after this nvcc",
          "jittor/compiler.py",
          '''        nvcc_flags += ''.join(map(lambda x:f' -code=sm_{x} ', archs))
''',
          '''        nvcc_flags += ''.join(map(lambda x:f' -code=sm_{x} ', archs)) + f' -code=compute_{min(archs)} '
''')]

CONVOLUTIONS = [Patch(
    "float32 sums in 16-bit convolutions",
    "float16 convolutions were summed in float16, and cuDNN has no bfloat16 convolution with bfloat16 sums",
    f"jittor/extern/cuda/cudnn/ops/{op}.cc",
    '''        CUDNN_CROSS_CORRELATION, getDataType<Ty>()
''',
    '''        CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT
''') for op in ("cudnn_conv_op", "cudnn_conv_backward_x_op", "cudnn_conv_backward_w_op",
                "cudnn_conv3d_op", "cudnn_conv3d_backward_x_op", "cudnn_conv3d_backward_w_op")]

OWN_UTILITIES = [
    Patch("the copy's own utilities", "a child process would load the installed jittor_utils beside the patched jittor",
          "jittor/compiler.py",
          '''sp.getstatusoutput(f"log_v=0 {sys.executable} -m jittor_utils.query_cuda_cc")
''',
          '''sp.getstatusoutput(f"{sys.executable} \\"{os.path.dirname(jit_utils.__file__)}/query_cuda_cc.py\\"")
'''),
    Patch("the copy's own utilities", "a child process would load the installed jittor_utils beside the patched jittor",
          "jittor/utils/asm_tuner.py",
          '''os.environ["log_silent"] = "1"
import re
''',
          '''os.environ["log_silent"] = "1"
sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..")))
import re
''')]

PATCHES = [DEVICE_PROPERTIES, *CPP17, CUDNN_NAMES, *RNN, *SOFTMAX_MAX, *WHERE_ITERATORS, DEPTHWISE_LANE, NPP, *ARCHITECTURES,
           *CONVOLUTIONS, *OWN_UTILITIES]
