// A libcudart that stands in for a GPU while runtime/cuda/build_check.py compiles: memory is the host's, kernels do nothing.
// Every other function of the real library is added by the check as one that returns 0.
#include <cstdlib>
#include <cstring>
#include <cuda_runtime_api.h>
#undef cudaGetDeviceProperties

static int devices = 0;                            // none while Jittor starts: cuBLAS and cuDNN want a driver
static void* handle;

extern "C" {
void stand_in_devices(int count) { devices = count; }

cudaError_t cudaGetDeviceCount(int* count) { *count = devices; return cudaSuccess; }
cudaError_t cudaGetDevice(int* device) { *device = 0; return cudaSuccess; }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
    memset(properties, 0, sizeof(cudaDeviceProp));
    properties->major = 8;
    properties->minor = 6;
    return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
    *value = attribute == cudaDevAttrComputeCapabilityMajor ? 8 : attribute == cudaDevAttrComputeCapabilityMinor ? 6
        : attribute == cudaDevAttrWarpSize ? 32 : attribute == cudaDevAttrMaxSharedMemoryPerBlock ? 49152 : 1024;
    return cudaSuccess;
}
cudaError_t cudaMalloc(void** place, size_t size) { *place = calloc(1, size + 256); return cudaSuccess; }
cudaError_t cudaMallocHost(void** place, size_t size) { return cudaMalloc(place, size); }
cudaError_t cudaMallocManaged(void** place, size_t size, unsigned) { return cudaMalloc(place, size); }
cudaError_t cudaFree(void* place) { free(place); return cudaSuccess; }
cudaError_t cudaFreeHost(void* place) { free(place); return cudaSuccess; }
cudaError_t cudaMemGetInfo(size_t* free_, size_t* total) { *free_ = *total = 1ull << 34; return cudaSuccess; }
cudaError_t cudaMemcpy(void* to, const void* from, size_t size, cudaMemcpyKind) { memmove(to, from, size); return cudaSuccess; }
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind, cudaStream_t) {
    memmove(to, from, size);
    return cudaSuccess;
}
cudaError_t cudaMemset(void* place, int value, size_t size) { memset(place, value, size); return cudaSuccess; }
cudaError_t cudaLaunchHostFunc(cudaStream_t, cudaHostFn_t function, void* data) { function(data); return cudaSuccess; }
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* found, const void*) {
    memset(found, 0, sizeof(cudaFuncAttributes));
    found->ptxVersion = found->binaryVersion = 86;
    found->maxThreadsPerBlock = 1024;
    return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void*, int, size_t) {
    *blocks = 1;
    return cudaSuccess;
}
const char* cudaGetErrorName(cudaError_t) { return "the stand-in knows no errors"; }
const char* cudaGetErrorString(cudaError_t) { return "the stand-in knows no errors"; }
void** __cudaRegisterFatBinary(void*) { return &handle; }
cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* entry) { *kernel = (cudaKernel_t)entry; return cudaSuccess; }
}
