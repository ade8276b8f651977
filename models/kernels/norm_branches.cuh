// Group normalisation, SPADE modulation by maps made beforehand, and SiLU, for the two branches of guidance in one pass.
//
//   y = silu(((x - mean) * rstd * (1 + gamma) + beta) * (1 + scale) + shift)
//
// Rows b < masks of x take gamma and beta from their mask's maps (B, 2C, H, W); the rows after them are the same pictures
// without a mask: there both are constant but for the image's border, which saw fewer pixels of the padded convolution.
// Their (2C, h, w) values, h = min(H, 3), are those of a picture so small: first, middle and last row and column.
// Of the GPU's part: compiled for sm_80 and sm_90 and played on a CPU (tests/play.h), not yet run on a GPU. Its kernel takes
// 64 registers and 0.4 KB of shared memory; of 16-bit maps that are no multiple of 16 bytes it spills 4 bytes.
#pragma once
#ifndef IIDM_NORM_LAST        // Jittor finds no include of an include: norm_branches.py names all
#include <norm_last.cuh>
#endif

namespace iidm {

struct NormBranches {
    int64_t batch, masks, channels, height, width, groups;
    float eps;
    bool known;                                          // whether add_moments.cuh has found the moments
    int64_t pixels() const { return height * width; }
};

// Where row i of n is found in the small picture of min(n, 3) rows.
IIDM_HD int64_t small_index(int64_t i, int64_t n) { return i == 0 ? 0 : i == n - 1 ? (n < 3 ? n : 3) - 1 : 1; }

template <class T>
inline void norm_branches_cpu(const NormBranches& p, const T* x, const T* maps, const T* empty,
                              const Timestep& time, const float* known, T* y) {
    const int64_t n = p.pixels(), wide = p.channels / p.groups, h = p.height < 3 ? p.height : 3, w = p.width < 3 ? p.width : 3;
#pragma omp parallel for schedule(static)
    for (int64_t job = 0; job < p.batch * p.groups; ++job) {
        const int64_t b = job / p.groups, first = (job % p.groups) * wide;
        const T* group = x + (b * p.channels + first) * n;
        const Moments m = known_or_found(known, job, group, wide * n, p.eps);
        for (int64_t j = 0; j < wide; ++j) {
            const int64_t c = first + j;
            const T* __restrict__ in = group + j * n;
            T* __restrict__ out = y + (b * p.channels + c) * n;
            const Row all = row_of(m, time, b, c);
            if (b < p.masks) {
                const T* __restrict__ gamma = maps + (b * 2 * p.channels + c) * n;
                const T* __restrict__ beta = gamma + p.channels * n;
                for (int64_t i = 0; i < n; ++i)
                    put(silu(modulate(all, wide_of(in[i]), 1.0f + wide_of(gamma[i]), wide_of(beta[i]))), out[i]);
                continue;
            }
            for (int64_t r = 0; r < p.height; ++r) {
                const T* gamma = empty + (c * h + small_index(r, p.height)) * w;
                const T* beta = gamma + p.channels * h * w;
                const T* __restrict__ row = in + r * p.width;
                T* __restrict__ to = out + r * p.width;
                const auto value = [=](int64_t i, int64_t at) {
                    return silu(modulate(all, wide_of(row[i]), 1.0f + wide_of(gamma[at]), wide_of(beta[at])));
                };
                put(value(0, 0), to[0]);
                for (int64_t i = 1; i + 1 < p.width; ++i) put(value(i, 1), to[i]);
                if (p.width > 1) put(value(p.width - 1, w - 1), to[p.width - 1]);
            }
        }
    }
}

#ifdef IIDM_GPU

// Where norm_apply of norm_modulate.cuh finds 1 + gamma and beta.
template <class T>
struct Branches {
    const T *maps, *empty;
    int masks, channels, height, width;
    bool in_packs() const { return aligned(maps); }
    template <int V>
    __device__ void at(int sample, int c, int i, float (&a)[V], float (&b)[V]) const {
        if (sample < masks) {
            const int64_t pixels = int64_t(height) * width, from = (int64_t(sample) * 2 * channels + c) * pixels + i;
            load(maps + from, a);
            load(maps + from + channels * pixels, b);
#pragma unroll
            for (int v = 0; v < V; ++v) a[v] += 1.0f;
            return;
        }
        const int h = height < 3 ? height : 3, w = width < 3 ? width : 3;
#pragma unroll
        for (int v = 0; v < V; ++v) {
            const int at = int(small_index((i + v) / width, height) * w + small_index((i + v) % width, width));
            a[v] = 1.0f + to_float(empty[c * h * w + at]);
            b[v] = to_float(empty[(channels + c) * h * w + at]);
        }
    }
};

// chunks: scratch (B * G, chunks of a group, 2).
template <class T>
inline void norm_branches_cuda(const NormBranches& p, const T* x, const T* maps, const T* empty,
                               const Timestep& time, float* chunks, T* y) {
    const Branches<T> branches = {maps, empty, int(p.masks), int(p.channels), int(p.height), int(p.width)};
    norm_modulate_cuda(NormModulate{p.batch, p.channels, p.pixels(), p.groups, true, true, p.eps, p.known}, branches, x, time,
                       chunks, y, static_cast<float*>(nullptr));
}

// The same where channels are last, for last_apply of norm_last.cuh: maps (B, H, W, 2C), empty (h, w, 2C).
template <class T>
struct BranchesLast {
    const T *maps, *empty;
    int masks, channels, height, width;
    bool in_packs() const { return aligned(maps, empty); }
    template <int V>
    __device__ void begin(int, float (&)[V], float (&)[V]) const {}
    template <int V>
    __device__ void at(int sample, int pixel, int c, float (&a)[V], float (&b)[V]) const {
        const T* from = maps + (int64_t(sample) * height * width + pixel) * 2 * channels + c;
        if (sample >= masks) {
            const int row = int(small_index(pixel / width, height)), column = int(small_index(pixel % width, width));
            from = empty + (row * (width < 3 ? width : 3) + column) * 2 * channels + c;
        }
        load(from, a);
        load(from + channels, b);
#pragma unroll
        for (int v = 0; v < V; ++v) a[v] += 1.0f;
    }
};

// chunks: scratch (B * G, kMostParts, 2).
template <class T>
inline void norm_branches_last_cuda(const NormBranches& p, const T* x, const T* maps, const T* empty, const Timestep& time,
                                    float* chunks, T* y) {
    const BranchesLast<T> branches = {maps, empty, int(p.masks), int(p.channels), int(p.height), int(p.width)};
    norm_last_cuda(NormModulate{p.batch, p.channels, p.pixels(), p.groups, true, true, p.eps, p.known}, branches, x, time, chunks, y,
                   static_cast<float*>(nullptr));
}

#endif
}  // namespace iidm
