// The nearest row of a codebook for every vector: index[i] = argmin_j |z_i - e_j|^2, the first one of equals.
//
// Of the GPU's part: compiled for sm_80 and sm_90 and played on a CPU (tests/play.h), not yet run on a GPU. Its kernel takes
// at most 40 registers and 8 KB of shared memory.
#pragma once
#ifndef IIDM_DEVICE          // Jittor finds no include of an include: nearest_code.py names both
#include <device.cuh>
#endif
#include <vector>

namespace iidm {

IIDM_HD float squared(float d) { return d * d; }

// z (N, D), codebook (K, D) -> index (N).
inline void nearest_code_cpu(const float* z, const float* codebook, int32_t* index, int64_t n, int64_t k, int64_t d) {
    constexpr int64_t kTile = 64;  // codes compared at a time, so that the arithmetic is vectorised over codes
    const int64_t padded = (k + kTile - 1) / kTile * kTile;
    std::vector<float> columns(padded * d, 1.0e15f);  // the codebook transposed; what pads it is far from everything
    for (int64_t j = 0; j < k; ++j)
        for (int64_t c = 0; c < d; ++c) columns[c * padded + j] = codebook[j * d + c];
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; ++i) {
        float best = 3.0e38f;
        int64_t found = 0;
        for (int64_t start = 0; start < padded; start += kTile) {
            float distance[kTile] = {};
            for (int64_t c = 0; c < d; ++c) {
                const float value = z[i * d + c];
                const float* __restrict__ column = columns.data() + c * padded + start;
                for (int64_t j = 0; j < kTile; ++j) distance[j] += squared(value - column[j]);
            }
            float least = distance[0];
            for (int64_t j = 1; j < kTile; ++j) least = distance[j] < least ? distance[j] : least;
            if (least < best) {
                best = least;
                for (int64_t j = kTile - 1; j >= 0; --j)
                    if (distance[j] == least) found = start + j;
            }
        }
        index[i] = int32_t(found);
    }
}

#ifdef IIDM_GPU

constexpr int kLanes = 4;           // threads that share a vector: each compares it with every fourth code
constexpr int kVectors = 64;        // of a block
constexpr int kSharedCodes = 2048;  // floats of the codebook in shared memory at a time

// One block for kVectors vectors of D numbers.
template <int D>
__global__ void __launch_bounds__(kLanes * kVectors) nearest_code_kernel(const float* z, const float* codebook,
                                                                         int32_t* index, int n, int k) {
    constexpr int kCodes = kSharedCodes / D / kLanes * kLanes;
    __shared__ float codes[kCodes * D];
    const int row = blockIdx.x * kVectors + threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
    float value[D];
#pragma unroll
    for (int c = 0; c < D; ++c) value[c] = row < n ? z[int64_t(row) * D + c] : 0.0f;
    float best = INFINITY;
    int found = 0;
    for (int start = 0; start < k; start += kCodes) {
        const int count = k - start < kCodes ? k - start : kCodes;
        __syncthreads();
        for (int i = threadIdx.x; i < count * D; i += kLanes * kVectors) codes[i] = codebook[int64_t(start) * D + i];
        __syncthreads();
        for (int j = lane; j < count; j += kLanes) {
            float distance = 0;
#pragma unroll
            for (int c = 0; c < D; ++c) distance += squared(value[c] - codes[j * D + c]);
            if (distance < best) {
                best = distance;
                found = start + j;
            }
        }
    }
    for (int step = 1; step < kLanes; step *= 2) {
        const float other = __shfl_xor_sync(0xffffffffu, best, step);
        const int its = __shfl_xor_sync(0xffffffffu, found, step);
        if (other < best || (other == best && its < found)) {
            best = other;
            found = its;
        }
    }
    if (lane == 0 && row < n) index[row] = found;
}

// d: 1 to 8.
inline void nearest_code_cuda(const float* z, const float* codebook, int32_t* index, int64_t n, int64_t k, int64_t d) {
    using Kernel = void (*)(const float*, const float*, int32_t*, int, int);
    const Kernel kernels[8] = {nearest_code_kernel<1>, nearest_code_kernel<2>, nearest_code_kernel<3>, nearest_code_kernel<4>,
                               nearest_code_kernel<5>, nearest_code_kernel<6>, nearest_code_kernel<7>, nearest_code_kernel<8>};
    launch(kernels[d - 1], ceil_div(n, kVectors), kLanes * kVectors, z, codebook, index, int(n), int(k));
}

#endif
}  // namespace iidm
