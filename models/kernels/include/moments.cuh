// Mean and standard deviation of every group of group normalisation, in two passes.
//
// A group of one sample lies in one piece: n = (C / G) * H * W values. On the CPU it is work for one thread. On a GPU it is
// work for several blocks, a chunk each, since 32 groups are fewer than a GPU's processors: a block holds its chunk in
// registers, centres it by its own mean, and the chunks are put together by the formula of Chan et al. 1979.
#pragma once
#define IIDM_MOMENTS
#ifndef IIDM_DEVICE          // Jittor finds no include of an include: who launches names both
#include <device.cuh>
#endif

namespace iidm {

struct Moments { float mean, rstd; };

// Sums run over blocks in float and over blocks' sums in double: exact enough for any image, and vectorised.
constexpr int64_t kBlock = 2048;

template <class F>
inline double sum_in_blocks(int64_t n, F term) {
    double total = 0;
    for (int64_t start = 0; start < n; start += kBlock) {
        const int64_t end = start + kBlock < n ? start + kBlock : n;
        float sum = 0;
        for (int64_t i = start; i < end; ++i) sum += term(i);
        total += sum;
    }
    return total;
}

// Of a group's n values whose mean is known.
template <class T>
inline Moments moments_about(float mean, const T* x, int64_t n, float eps) {
    const double square = sum_in_blocks(n, [=](int64_t i) { float d = wide_of(x[i]) - mean; return d * d; });
    return {mean, float(1.0 / std::sqrt(square / double(n) + double(eps)))};
}

// The same in two passes.
template <class T>
inline Moments moments(const T* x, int64_t n, float eps) {
    return moments_about(float(sum_in_blocks(n, [=](int64_t i) { return wide_of(x[i]); }) / double(n)), x, n, eps);
}

// The same for a group whose mean and rstd are among the known ones (G, 2), if there are any.
template <class T>
inline Moments known_or_found(const float* known, int64_t group, const T* x, int64_t n, float eps) {
    if (known) return {known[2 * group], known[2 * group + 1]};
    return moments(x, n, eps);
}

constexpr int kThreads = 256, kPer = 16, kChunk = kThreads * kPer;  // threads of a block, values of a thread, of a block

// Of a group of n values: those of chunk `part`.
IIDM_HD int chunk_size(int n, int part) { return n - part * kChunk < kChunk ? n - part * kChunk : kChunk; }

#ifdef IIDM_GPU

struct Part { float mean, square; };  // of a chunk: its mean, and the sum of squares about it

// Calls f(i, j) for every V-th value i of this thread's share of a chunk; j counts them.
template <int V, class F>
__device__ inline void for_chunk(int n, int part, F f) {
#pragma unroll
    for (int j = 0; j < kPer / V; ++j) {
        const int i = part * kChunk + (j * kThreads + int(threadIdx.x)) * V;
        if (i < n) f(i, j);
    }
}

// By all threads of a block; every one gets the answer. read(i, x): x <- V values of the group from i on.
template <int V, class Read>
__device__ inline Part chunk_moments(int n, int part, Read read) {
    float x[kPer / V][V], sum[1] = {0}, rest[2] = {0, 0};
    for_chunk<V>(n, part, [&](int i, int j) {
        read(i, x[j]);
#pragma unroll
        for (int v = 0; v < V; ++v) sum[0] += x[j][v];
    });
    block_sum(sum);
    const float count = float(chunk_size(n, part)), mean = sum[0] / count;
    for_chunk<V>(n, part, [&](int, int j) {
#pragma unroll
        for (int v = 0; v < V; ++v) {
            const float d = x[j][v] - mean;
            rest[0] += d;
            rest[1] += d * d;
        }
    });
    block_sum(rest);  // the sum about the mean is what rounding has left of it: it mends both
    return {mean + rest[0] / count, rest[1] - rest[0] * rest[0] / count};
}

template <int V, class T>
__device__ inline Part chunk_moments(const T* group, int n, int part) {
    return chunk_moments<V>(n, part, [=](int i, float (&x)[V]) { load(group + i, x); });
}

// parts (B * G, parts, 2). One block for a chunk.
template <class T, int V>
__global__ void __launch_bounds__(kThreads) part_moments(const T* x, int n, int parts, float* to) {
    const int64_t job = blockIdx.x / parts;
    const int part = blockIdx.x % parts;
    const Part found = chunk_moments<V>(x + job * n, n, part);
    if (threadIdx.x == 0) {
        to[2 * blockIdx.x] = found.mean;
        to[2 * blockIdx.x + 1] = found.square;
    }
}

// A group's moments of its chunks' (parts, 2); each warp does the same, a chunk for a thread.
__device__ inline Moments whole_moments(const float* chunks, int n, int parts, float eps) {
    const float near = chunks[0];  // a difference from it is exact where a mean far from zero is not
    float mean = 0, square = 0;
    for (int i = threadIdx.x % 32; i < parts; i += 32) mean += float(chunk_size(n, i)) * (chunks[2 * i] - near);
    mean = near + warp_sum(mean) / float(n);
    for (int i = threadIdx.x % 32; i < parts; i += 32) {
        const float d = chunks[2 * i] - mean;
        square += chunks[2 * i + 1] + float(chunk_size(n, i)) * d * d;
    }
    return {mean, 1.0f / sqrtf(warp_sum(square) / float(n) + eps)};
}

// The same by a block that has but one chunk to look at does without part_moments.
template <int V, class T>
__device__ inline Moments group_moments(const T* group, const float* chunks, int n, int parts, float eps) {
    if (parts > 1) return whole_moments(chunks, n, parts, eps);
    const Part own = chunk_moments<V>(group, n, 0);
    return {own.mean, 1.0f / sqrtf(own.square / float(n) + eps)};
}

#endif
}  // namespace iidm
