// Bias and residual added to a convolution's result, and the moments of the sum for the group normalisation that follows, while
// the sum is at hand: sum = y + bias + residual (B, C, H, W).
//
// On the CPU a group's sum is written and its mean found in one pass, moments as in moments.cuh. On a GPU a block
// adds a chunk, as part_moments of moments.cuh (channels last: last_moments of norm_last.cuh) would read it, and the
// normalisation does without that pass. Moments are those of the numbers as they are stored, rounded to 16 bits or not.
// Compiled for sm_80 and sm_90 and played on a CPU (tests/play.h), not yet run on a GPU.
#pragma once
#ifndef IIDM_NORM_LAST        // Jittor finds no include of an include: add_moments.py names all
#include <norm_last.cuh>
#endif

namespace iidm {

// stats (B, G, 2): mean, rstd. residual: null where there is none.
template <class T>
inline void add_moments_cpu(const NormModulate& p, const T* y, const float* bias, const T* residual, T* sum, float* stats) {
    const int64_t n = p.pixels, width = p.width();
#pragma omp parallel for schedule(static)
    for (int64_t job = 0; job < p.batch * p.groups; ++job) {
        const int64_t first = job % p.groups * width, group = job * width * n;
        double total = 0;
        int64_t start = 0;                                      // blocks of sum_in_blocks, wherever channels begin
        while (start < width * n) {
            const int64_t end = start + kBlock < width * n ? start + kBlock : width * n;
            float of_block = 0;
            for (int64_t i = start; i < end;) {
                const int64_t channel = i / n, stop = (channel + 1) * n < end ? (channel + 1) * n : end;
                const float b = bias[first + channel];
                const T* __restrict__ in = y + group;
                const T* __restrict__ more = residual ? residual + group : nullptr;
                T* __restrict__ out = sum + group;
                if (more)
                    for (int64_t k = i; k < stop; ++k) put(wide_of(in[k]) + b + wide_of(more[k]), out[k]);
                else
                    for (int64_t k = i; k < stop; ++k) put(wide_of(in[k]) + b, out[k]);
                i = stop;
            }
            for (int64_t k = start; k < end; ++k) of_block += wide_of(sum[group + k]);
            total += of_block;
            start = end;
        }
        const Moments m = moments_about(float(total / double(width * n)), sum + group, width * n, p.eps);
        stats[2 * job] = m.mean;
        stats[2 * job + 1] = m.rstd;
    }
}

#ifdef IIDM_GPU

// to <- y + bias + residual as numbers of type T, V neighbours from i on whose biases are b.
template <int V, class T>
__device__ inline void add_and_store(const T* y, const float (&b)[V], const T* residual, T* sum, int64_t i, float (&to)[V]) {
    float more[V];
    load(y + i, to);
#pragma unroll
    for (int v = 0; v < V; ++v) to[v] += b[v];
    if (residual) {
        load(residual + i, more);
#pragma unroll
        for (int v = 0; v < V; ++v) to[v] += more[v];
    }
    store(to, sum + i);
#pragma unroll
    for (int v = 0; v < V; ++v) {                               // as they are read again
        T rounded;
        from_float(to[v], rounded);
        to[v] = to_float(rounded);
    }
}

// One block for a chunk of a group; chunks (B * G, parts, 2).
template <class T, int V>
__global__ void __launch_bounds__(kThreads) add_part(Launch p, const T* __restrict__ y, const float* __restrict__ bias,
                                                     const T* __restrict__ residual, T* __restrict__ sum,
                                                     float* __restrict__ chunks) {
    const int64_t job = blockIdx.x / p.parts, group = job * p.n;
    const int part = blockIdx.x % p.parts, first = int(job % p.groups) * p.width;
    const Part found = chunk_moments<V>(p.n, part, [&](int i, float (&x)[V]) {
        float b[V];
#pragma unroll
        for (int v = 0; v < V; ++v) b[v] = bias[first + (i + v) / p.pixels];
        add_and_store(y, b, residual, sum, group + i, x);
    });
    if (threadIdx.x == 0) {
        chunks[2 * int64_t(blockIdx.x)] = found.mean;
        chunks[2 * int64_t(blockIdx.x) + 1] = found.square;
    }
}

// The same where channels are last; chunks (B * G, kMostParts, 2).
template <class T, int V>
__global__ void __launch_bounds__(kThreads) add_part_last(LastLaunch p, const T* __restrict__ y, const float* __restrict__ bias,
                                                          const T* __restrict__ residual, T* __restrict__ sum,
                                                          float* __restrict__ chunks) {
    gather_moments<V>(p, chunks, [&](int64_t i, int c, float (&x)[V]) {
        float b[V];
#pragma unroll
        for (int v = 0; v < V; ++v) b[v] = bias[c + v];
        add_and_store(y, b, residual, sum, i, x);
    });
}

template <class T, int V>
inline void add_moments_launch(const NormModulate& shape, const T* y, const float* bias, const T* residual, T* sum, float* chunks) {
    const Launch p = launch_of(shape);
    launch(add_part<T, V>, shape.batch * shape.groups * p.parts, kThreads, p, y, bias, residual, sum, chunks);
}

template <class T>
inline void add_moments_cuda(const NormModulate& p, const T* y, const float* bias, const T* residual, T* sum, float* chunks) {
    if (p.pixels % wide<T>() == 0 && aligned(y, residual, sum)) add_moments_launch<T, wide<T>()>(p, y, bias, residual, sum, chunks);
    else add_moments_launch<T, 1>(p, y, bias, residual, sum, chunks);
}

template <class T, int V>
inline void add_moments_last_launch(const NormModulate& shape, const T* y, const float* bias, const T* residual, T* sum,
                                    float* chunks) {
    const LastLaunch p = last_launch_of<V>(shape);
    launch(add_part_last<T, V>, shape.batch * p.parts * p.side, p.threads(), p, y, bias, residual, sum, chunks);
}

template <class T>
inline void add_moments_last_cuda(const NormModulate& p, const T* y, const float* bias, const T* residual, T* sum, float* chunks) {
    if (p.width() % wide<T>() == 0 && aligned(y, residual, sum))
        add_moments_last_launch<T, wide<T>()>(p, y, bias, residual, sum, chunks);
    else
        add_moments_last_launch<T, 1>(p, y, bias, residual, sum, chunks);
}

#endif
}  // namespace iidm
