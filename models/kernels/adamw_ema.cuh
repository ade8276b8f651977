// One step of AdamW, and of the moving average after it, for one parameter of n numbers.
//
//   m = b1 m + (1 - b1) g          v = b2 v + (1 - b2) g^2
//   p = keep p - size m / (sqrt(v) / root + eps)          keep = 1 - lr decay, size = lr / (1 - b1^n), root^2 = 1 - b2^n
//   e = e + weight (p - e)
//
// The arithmetic is shared between the processors. Of the GPU's part: compiled for sm_80 and sm_90 and played on a CPU
// (tests/play.h), not yet run on a GPU. Its kernel takes at most 36 registers.
#pragma once
#ifndef IIDM_DEVICE          // Jittor finds no include of an include: adamw_ema.py names both
#include <device.cuh>
#endif

namespace iidm {

struct AdamW { float b1, rest1, b2, rest2, keep, size, root, eps, weight; };

// Correctly rounded on a GPU too, where Jittor's flags would make them fast ones: memory is what the step waits for.
#ifdef __CUDA_ARCH__
__device__ inline float exact_root(float a) { return __fsqrt_rn(a); }
__device__ inline float exact_quotient(float a, float b) { return __fdiv_rn(a, b); }
#else
IIDM_HD float exact_root(float a) { return std::sqrt(a); }
IIDM_HD float exact_quotient(float a, float b) { return a / b; }
#endif

// The new p of one number; m and v change.
IIDM_HD float adamw(const AdamW& s, float p, float g, float& m, float& v) {
    m = std::fma(s.rest1, g, s.b1 * m);  // one product is not rounded: said here, or each compiler would choose its own
    v = s.b2 * v + s.rest2 * g * g;
    return p * s.keep - exact_quotient(s.size * m, exact_quotient(exact_root(v), s.root) + s.eps);
}

// m, v and e, which may be null, change in place; p is written to `to`. By blocks of one size: the last numbers of a
// block round differently from those computed side by side, which must not depend on the number of threads.
inline void adamw_ema_cpu(const AdamW& s, const float* p, const float* g, float* to, float* m, float* v, float* e, int64_t n) {
    constexpr int64_t kBlock = 16384;
#pragma omp parallel for schedule(static)
    for (int64_t start = 0; start < n; start += kBlock) {
        const int64_t end = start + kBlock < n ? start + kBlock : n;
#pragma omp simd
        for (int64_t i = start; i < end; ++i) {
            to[i] = adamw(s, p[i], g[i], m[i], v[i]);
            if (e) e[i] += s.weight * (to[i] - e[i]);
        }
    }
}

#ifdef IIDM_GPU

template <int V>
__global__ void __launch_bounds__(256) adamw_ema_kernel(AdamW s, const float* p, const float* g, float* to, float* m, float* v,
                                                        float* e, int64_t n) {
    const int64_t i = (int64_t(blockIdx.x) * 256 + threadIdx.x) * V;
    if (i >= n) return;
    float own[V], slope[V], first[V], second[V], average[V];
    load(p + i, own);
    load(g + i, slope);
    load(m + i, first);
    load(v + i, second);
    if (e) load(e + i, average);
#pragma unroll
    for (int k = 0; k < V; ++k) {
        own[k] = adamw(s, own[k], slope[k], first[k], second[k]);
        if (e) average[k] += s.weight * (own[k] - average[k]);
    }
    store(own, to + i);
    store(first, m + i);
    store(second, v + i);
    if (e) store(average, e + i);
}

inline void adamw_ema_cuda(const AdamW& s, const float* p, const float* g, float* to, float* m, float* v, float* e, int64_t n) {
    if (n % 4 == 0 && aligned(p, g, to, m, v, e))
        launch(adamw_ema_kernel<4>, ceil_div(n, 4 * 256), 256, s, p, g, to, m, v, e, n);
    else
        launch(adamw_ema_kernel<1>, ceil_div(n, 256), 256, s, p, g, to, m, v, e, n);
}

#endif
}  // namespace iidm
