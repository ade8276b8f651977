"""Sums over GPUs by NCCL, without its headers: the library from its wheel, called by address in one Jittor operator.

Not run on a GPU yet: the mechanism (an address and a communicator passed to an operator) was, with a stand-in, on a CPU.
"""
import ctypes
import glob
import site

from runtime.errors import UserError

ID = ctypes.c_byte * 128      # ncclUniqueId, passed by value
CALL = """
    typedef int (*AllReduce)(const void*, void*, size_t, int, int, void*, void*);
    int status = ((AllReduce)(uintptr_t)data["function"])(in0_p, out0_p, in0->num, 7, 0, (void*)(uintptr_t)data["comm"], 0);
    CHECK(status == 0) << "ncclAllReduce gives error" << status;
"""                           # float32 (7), sum (0), in place, on the stream that Jittor computes on


class UniqueId(ctypes.Structure):
    """What the processes' communicators have in common."""
    _fields_ = [("bytes", ID)]


def library():
    """libnccl.so.2, of the wheel (nvidia-nccl-cu11, -cu12, -cu13) or of the system."""
    folders = [*site.getsitepackages(), site.getusersitepackages()]
    found = [path for folder in folders for path in glob.glob(f"{folder}/nvidia/nccl/lib/libnccl.so.2")]
    try:
        return ctypes.CDLL((found or ["libnccl.so.2"])[0])
    except OSError as error:
        raise UserError(f"training on several GPUs needs NCCL, and {error}; pip install nvidia-nccl-cu12 (or -cu11, -cu13: the "
                        "CUDA of the driver)") from None


class Communicator:
    """NCCL between the processes of an MPI communicator, each with one visible GPU."""

    def __init__(self, comm):
        nccl = library()
        unique = UniqueId()
        if comm.rank == 0:
            check(nccl.ncclGetUniqueId(ctypes.byref(unique)), "ncclGetUniqueId")
        unique = UniqueId.from_buffer_copy(comm.bcast(bytes(unique)))
        self.comm = ctypes.c_void_p()
        nccl.ncclCommInitRank.argtypes = [ctypes.c_void_p, ctypes.c_int, UniqueId, ctypes.c_int]
        check(nccl.ncclCommInitRank(ctypes.byref(self.comm), comm.size, unique, comm.rank), "ncclCommInitRank")
        self.address = ctypes.cast(nccl.ncclAllReduce, ctypes.c_void_p).value

    def sum(self, flat):
        """A computed float32 Var -> the sum over the processes, in its place."""
        from runtime.backend import jt
        # Addresses lie below 2^53: exact in the doubles that `data` holds.
        return jt.code([flat], [flat], cuda_src=CALL, data={"function": float(self.address), "comm": float(self.comm.value)})[0]


def check(status, what):
    """UserError unless a call of NCCL went well."""
    if status:
        raise UserError(f"{what} gives error {status}; NCCL_DEBUG=INFO says more")
