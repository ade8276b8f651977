// What the kernels share: 16-bit numbers, 16-byte accesses, sums over a warp or a block, the launch.
//
// Numbers are stored as float, __half or __nv_bfloat16 and computed with as float. Sums have a fixed order: no atomics, so
// that a result depends on nothing but its arguments. tests/play.h stands in for the GPU in tests (IIDM_PLAY).
#pragma once
#define IIDM_DEVICE
#include <cmath>
#include <cstdint>
#include <cstring>
#include <stdexcept>

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif
#if defined(__CUDACC__) || defined(IIDM_PLAY)
#define IIDM_GPU             // the kernels are compiled, beside the arithmetic that both processors share
#define IIDM_HD __host__ __device__ inline
#else
#define IIDM_HD inline
#endif

// ---------------------------------------------------------------------------------------------------- CPU

namespace iidm {

struct Bf16 { uint16_t bits; };  // a bfloat16 on a CPU, where Jittor's own cuts off digits

// The nearest, of two equally near the even one, as a GPU does it.
inline Bf16 nearest_bf16(float a) {
    uint32_t bits;
    std::memcpy(&bits, &a, sizeof bits);
    if ((bits & 0x7fffffff) > 0x7f800000) return {uint16_t(bits >> 16 | 0x40)};  // not a number; as bits, under -Ofast
    return {uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

inline float wide_of(float a) { return a; }
inline float wide_of(Bf16 a) {
    const uint32_t bits = uint32_t(a.bits) << 16;
    float to;
    std::memcpy(&to, &bits, sizeof to);
    return to;
}

inline void put(float a, float& to) { to = a; }
inline void put(float a, Bf16& to) { to = nearest_bf16(a); }

// Jittor's pointers as the CPU's functions take them.
inline const float* numbers(const float* a) { return a; }
inline float* numbers(float* a) { return a; }
template <class T> inline const Bf16* numbers(const T* a) { return reinterpret_cast<const Bf16*>(a); }
template <class T> inline Bf16* numbers(T* a) { return reinterpret_cast<Bf16*>(a); }

}  // namespace iidm

// ---------------------------------------------------------------------------------------------------- GPU

#ifdef IIDM_GPU
namespace iidm {

__device__ inline float to_float(float a) { return a; }
__device__ inline float to_float(__half a) { return __half2float(a); }
__device__ inline float to_float(__nv_bfloat16 a) { return __bfloat162float(a); }

// The nearest number of a type; of two equally near the even one.
__device__ inline void from_float(float a, float& to) { to = a; }
__device__ inline void from_float(float a, __half& to) { to = __float2half_rn(a); }
__device__ inline void from_float(float a, __nv_bfloat16& to) { to = __float2bfloat16_rn(a); }

// V neighbours in one access.
template <class T, int V>
struct alignas(sizeof(T) * V) Pack { T at[V]; };

template <int V, class T>
__device__ inline void load(const T* from, float (&to)[V]) {
    const Pack<T, V> pack = *reinterpret_cast<const Pack<T, V>*>(from);
#pragma unroll
    for (int v = 0; v < V; ++v) to[v] = to_float(pack.at[v]);
}

template <int V, class T>
__device__ inline void store(const float (&from)[V], T* to) {
    Pack<T, V> pack;
#pragma unroll
    for (int v = 0; v < V; ++v) from_float(from[v], pack.at[v]);
    *reinterpret_cast<Pack<T, V>*>(to) = pack;
}

// Values of a 16-byte access.
template <class T>
constexpr int wide() { return int(16 / sizeof(T)); }

// Whether arrays may be read 16 bytes at a time from every V-th element on.
inline bool aligned() { return true; }

template <class T, class... Rest>
inline bool aligned(const T* array, const Rest*... rest) {
    return reinterpret_cast<uintptr_t>(array) % 16 == 0 && aligned(rest...);
}

// Every thread of the warp gets the sum.
__device__ inline float warp_sum(float a) {
    for (int step = 16; step; step /= 2) a += __shfl_xor_sync(0xffffffffu, a, step);
    return a;
}

// N sums over the block, a multiple of 32 threads; every thread gets them.
template <int N>
__device__ inline void block_sum(float (&sum)[N]) {
    __shared__ float of_warp[32][N];
#pragma unroll
    for (int i = 0; i < N; ++i) sum[i] = warp_sum(sum[i]);
    if (threadIdx.x % 32 == 0)
        for (int i = 0; i < N; ++i) of_warp[threadIdx.x / 32][i] = sum[i];
    __syncthreads();
#pragma unroll
    for (int i = 0; i < N; ++i) {
        sum[i] = 0;
        for (int warp = 0; warp < int(blockDim.x) / 32; ++warp) sum[i] += of_warp[warp][i];
    }
    __syncthreads();  // the next sum writes to the same place
}

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

#ifdef __CUDACC__
template <class... P, class... A>
inline void launch(void (*kernel)(P...), int64_t blocks, int threads, A... arguments) {
    if (blocks == 0) return;
    kernel<<<unsigned(blocks), threads>>>(arguments...);
    const cudaError_t error = cudaGetLastError();
    if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
}
#endif

}  // namespace iidm
#endif
