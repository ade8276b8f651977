// Group normalisation, modulation and SiLU in one pass over the data.
//
//   x_hat = (x - mean) * rstd                        per sample and group, two-pass statistics
//   u     = x_hat * a + b                            affine: a = gamma[c];  SPADE: a = 1 + maps[b, c, i], b = maps[b, C + c, i]
//   v     = u * (1 + scale[b, c]) + shift[b, c]      the timestep's scale and shift, where there is one
//   y     = silu(v) or v
//
// The element-wise arithmetic is shared between the processors. On the CPU a group of one sample is one piece of work for
// one thread, so that results depend neither on the number of threads nor on the batch; on a GPU chunks are of fixed size.
// Of the GPU's part: compiled for sm_80 and sm_90 and played on a CPU (tests/play.h), not yet run on a GPU. The largest of
// its kernels takes 64 registers and 0.6 KB of shared memory; none spills.
#pragma once
#define IIDM_NORM_MODULATE
#ifndef IIDM_MOMENTS         // Jittor finds no include of an include: norm_modulate.py names all
#include <moments.cuh>
#endif

namespace iidm {

IIDM_HD float silu(float v) { return v / (1.0f + expf(-v)); }

IIDM_HD float silu_slope(float v) {
    float s = 1.0f / (1.0f + expf(-v));
    return s * (1.0f + v * (1.0f - s));
}

// Shapes: x, y (B, C, N) with N = H * W; gamma, beta (C), or both in maps (B, 2C, N).
struct NormModulate {
    int64_t batch, channels, pixels, groups;
    bool maps, act;
    float eps;
    bool known;                                          // whether add_moments.cuh has found the moments
    bool apart;                                          // whether maps are two arrays (B, C, N), on a CPU
    int64_t width() const { return channels / groups; }  // channels of a group
    int64_t size() const { return width() * pixels; }    // values of a group
    int64_t half() const { return apart ? 0 : channels * pixels; }   // of a sample's maps: from gamma to beta
};

// The timestep's rows (R, 2C), scale and then shift: one for every sample, or one for all (stride 0), or none (null).
struct Timestep {
    const float* rows;
    int64_t stride, channels;
    IIDM_HD float scale(int64_t sample, int64_t c) const { return rows ? rows[sample * stride + c] : 0.0f; }
    IIDM_HD float shift(int64_t sample, int64_t c) const { return rows ? rows[sample * stride + channels + c] : 0.0f; }
};

// What is the same for all of a channel: s = 1 + scale, t = shift.
struct Row { float mean, rstd, s, t; };

IIDM_HD float modulate(const Row& r, float x, float a, float b) { return ((x - r.mean) * r.rstd * a + b) * r.s + r.t; }

IIDM_HD Row row_of(const Moments& m, const Timestep& t, int64_t sample, int64_t c) {
    return {m.mean, m.rstd, 1.0f + t.scale(sample, c), t.shift(sample, c)};
}

struct Slopes { float x_hat, u, v, du; };  // x_hat and u again; v, du: dL/dv, dL/du

IIDM_HD Slopes slopes(const Row& r, float x, float a, float b, float dy, bool act) {
    const float x_hat = (x - r.mean) * r.rstd, u = x_hat * a + b;
    const float dv = act ? dy * silu_slope(u * r.s + r.t) : dy;
    return {x_hat, u, dv, dv * r.s};
}

// dL/dx; m, m_x_hat: the group's means of dL/d x_hat and of dL/d x_hat * x_hat.
IIDM_HD float slope_x(const Row& r, float d_x_hat, float x_hat, float m, float m_x_hat) {
    return r.rstd * (d_x_hat - m - x_hat * m_x_hat);
}

// ---------------------------------------------------------------------------------------------------- CPU

// Writes y and, for the backward pass, stats (B, G, 2) = mean, rstd; known: the same where they are. gamma, beta: where those of
// the first sample begin.
template <class T, class M>
inline void norm_modulate_cpu(const NormModulate& p, const T* x, const M* gamma, const M* beta, const Timestep& time,
                              const float* known, T* y, float* stats) {
    const int64_t n = p.pixels, width = p.width();
#pragma omp parallel for schedule(static)
    for (int64_t job = 0; job < p.batch * p.groups; ++job) {
        const int64_t b = job / p.groups, first = (job % p.groups) * width;
        const Moments m = known_or_found(known, job, x + (b * p.channels + first) * n, width * n, p.eps);
        stats[2 * job] = m.mean;
        stats[2 * job + 1] = m.rstd;
        for (int64_t j = 0; j < width; ++j) {
            const int64_t c = first + j, row = (b * p.channels + c) * n, map = row + b * p.half();
            const T* __restrict__ in = x + row;
            T* __restrict__ out = y + row;
            const Row r = row_of(m, time, b, c);
            if (p.maps) {
                const M* __restrict__ g = gamma + map;
                const M* __restrict__ h = beta + map;
                if (p.act)
                    for (int64_t i = 0; i < n; ++i)
                        put(silu(modulate(r, wide_of(in[i]), 1.0f + wide_of(g[i]), wide_of(h[i]))), out[i]);
                else
                    for (int64_t i = 0; i < n; ++i)
                        put(modulate(r, wide_of(in[i]), 1.0f + wide_of(g[i]), wide_of(h[i])), out[i]);
            } else {
                const float a = wide_of(gamma[c]), h = wide_of(beta[c]);
                if (p.act)
                    for (int64_t i = 0; i < n; ++i) put(silu(modulate(r, wide_of(in[i]), a, h)), out[i]);
                else
                    for (int64_t i = 0; i < n; ++i) put(modulate(r, wide_of(in[i]), a, h), out[i]);
            }
        }
    }
}

// Writes dx; dgamma, dbeta: (B, C) sums, or the halves of maps (B, 2C, N); d_time (B, 2C).
inline void norm_modulate_grad_cpu(const NormModulate& p, const float* dy, const float* x, const float* gamma,
                                   const float* beta, const Timestep& time, const float* stats, float* dx, float* dgamma,
                                   float* dbeta, float* d_time) {
    const int64_t n = p.pixels, width = p.width();
#pragma omp parallel for schedule(static)
    for (int64_t job = 0; job < p.batch * p.groups; ++job) {
        const int64_t b = job / p.groups, first = (job % p.groups) * width;
        const Moments own = {stats[2 * job], stats[2 * job + 1]};
        double sum = 0, sum_x_hat = 0;  // of d x_hat and of d x_hat * x_hat over the group
        for (int64_t j = 0; j < width; ++j) {
            const int64_t c = first + j, at = b * p.channels + c, row = at * n, map = row + b * p.half();
            const float* __restrict__ in = x + row;
            const float* __restrict__ d_out = dy + row;
            const float* __restrict__ g = p.maps ? gamma + map : gamma + c;
            const float* __restrict__ h = p.maps ? beta + map : beta + c;
            float* __restrict__ d_in = dx + row;  // holds d x_hat until the group's sums are known
            float* __restrict__ d_g = p.maps ? dgamma + map : nullptr;
            float* __restrict__ d_h = p.maps ? dbeta + map : nullptr;
            const Row r = row_of(own, time, b, c);
            double total_u = 0, total_v = 0, total_gamma = 0;
            for (int64_t start = 0; start < n; start += kBlock) {
                const int64_t end = start + kBlock < n ? start + kBlock : n;
                float block_u = 0, block_v = 0, block_gamma = 0, block_x = 0, block_xx = 0;
                if (p.maps) {
                    for (int64_t i = start; i < end; ++i) {
                        const float a = 1.0f + g[i];
                        const Slopes d = slopes(r, in[i], a, h[i], d_out[i], p.act);
                        d_in[i] = d.du * a;
                        d_g[i] = d.du * d.x_hat;
                        d_h[i] = d.du;
                        block_u += d.v * d.u; block_v += d.v;
                        block_x += d.du * a; block_xx += d.du * a * d.x_hat;
                    }
                } else {
                    const float a = g[0], offset = h[0];
                    for (int64_t i = start; i < end; ++i) {
                        const Slopes d = slopes(r, in[i], a, offset, d_out[i], p.act);
                        d_in[i] = d.du * a;
                        block_u += d.v * d.u; block_v += d.v; block_gamma += d.du * d.x_hat;
                        block_x += d.du * a; block_xx += d.du * a * d.x_hat;
                    }
                }
                total_u += block_u; total_v += block_v; total_gamma += block_gamma;
                sum += block_x; sum_x_hat += block_xx;
            }
            if (!p.maps) {
                dgamma[at] = float(total_gamma);
                dbeta[at] = float(total_v * double(r.s));
            }
            d_time[at + b * p.channels] = float(total_u);
            d_time[at + (b + 1) * p.channels] = float(total_v);
        }
        const Row all = {own.mean, own.rstd, 1.0f, 0.0f};
        const float m = float(sum / double(width * n)), m_x_hat = float(sum_x_hat / double(width * n));
        const float* __restrict__ in = x + (b * p.channels + first) * n;
        float* __restrict__ d_in = dx + (b * p.channels + first) * n;
        for (int64_t i = 0; i < width * n; ++i) d_in[i] = slope_x(all, d_in[i], (in[i] - all.mean) * all.rstd, m, m_x_hat);
    }
}

// ---------------------------------------------------------------------------------------------------- GPU

#ifdef IIDM_GPU

// Where a and b of u = x_hat * a + b come from: V neighbouring pixels from i on, of channel c of sample b.
struct Affine {
    const float *gamma, *beta;
    bool in_packs() const { return true; }
    template <int V>
    __device__ void at(int, int c, int, float (&a)[V], float (&b)[V]) const {
#pragma unroll
        for (int v = 0; v < V; ++v) { a[v] = gamma[c]; b[v] = beta[c]; }
    }
};

template <class T>
struct Maps {
    const T* maps;
    int channels, pixels;
    bool in_packs() const { return aligned(maps); }
    template <int V>
    __device__ void at(int sample, int c, int i, float (&a)[V], float (&b)[V]) const {
        const T* from = maps + (int64_t(sample) * 2 * channels + c) * pixels + i;
        load(from, a);
        load(from + int64_t(channels) * pixels, b);
#pragma unroll
        for (int v = 0; v < V; ++v) a[v] += 1.0f;
    }
};

// What the kernels know of the shapes.
struct Launch {
    int channels, pixels, groups, width, n, parts, row_parts;  // n: values of a group; parts: its chunks; a channel's chunks
    float eps;
    bool act;
};

inline Launch launch_of(const NormModulate& p) {
    const int n = int(p.size());
    return {int(p.channels), int(p.pixels), int(p.groups), int(p.width()), n, int(ceil_div(n, kChunk)),
            int(ceil_div(p.pixels, kChunk)), p.eps, p.act};
}

// One block for a chunk of a group. chunks: of part_moments, where there are several; stats (B, G, 2) or null.
template <class T, int V, class M>
__global__ void __launch_bounds__(kThreads) norm_apply(Launch p, M modulation, const T* x, Timestep time,
                                                       const float* chunks, T* y, float* stats) {
    const int job = blockIdx.x / p.parts, part = blockIdx.x % p.parts, sample = job / p.groups;
    const T* group = x + int64_t(job) * p.n;
    const Moments m = group_moments<V>(group, chunks + 2 * int64_t(job) * p.parts, p.n, p.parts, p.eps);
    if (stats && part == 0 && threadIdx.x == 0) {
        stats[2 * job] = m.mean;
        stats[2 * job + 1] = m.rstd;
    }
    for_chunk<V>(p.n, part, [&](int i, int) {
        const int c = job % p.groups * p.width + i / p.pixels;
        const Row r = row_of(m, time, sample, c);
        float in[V], a[V], b[V], out[V];
        load(group + i, in);
        modulation.at(sample, c, i % p.pixels, a, b);
#pragma unroll
        for (int v = 0; v < V; ++v) {
            out[v] = modulate(r, in[v], a[v], b[v]);
            if (p.act) out[v] = silu(out[v]);
        }
        store(out, y + int64_t(job) * p.n + i);
    });
}

constexpr int kSums = 5;  // over a chunk of a channel: of dv * u, dv, d x_hat, d x_hat * x_hat and du * x_hat

// One block for a chunk of a channel of a sample. sums (B * C, row_parts, 5); d_maps (B, 2C, N) or null.
template <class T, int V, class M>
__global__ void __launch_bounds__(kThreads) norm_sums(Launch p, M modulation, const T* x, Timestep time,
                                                      const float* stats, const T* dy, float* sums, T* d_maps) {
    const int64_t at = blockIdx.x / p.row_parts, row = at * p.pixels;
    const int part = blockIdx.x % p.row_parts, sample = int(at / p.channels), c = int(at % p.channels);
    const int64_t job = int64_t(sample) * p.groups + c / p.width;
    const Row r = row_of({stats[2 * job], stats[2 * job + 1]}, time, sample, c);
    const int64_t half = int64_t(p.channels) * p.pixels;
    const int end = part * kChunk + chunk_size(p.pixels, part);
    float sum[kSums] = {0, 0, 0, 0, 0};
    for (int i = part * kChunk + int(threadIdx.x) * V; i < end; i += int(blockDim.x) * V) {
        float in[V], a[V], b[V], d_out[V], d_a[V], d_b[V];
        load(x + row + i, in);
        load(dy + row + i, d_out);
        modulation.at(sample, c, i, a, b);
#pragma unroll
        for (int v = 0; v < V; ++v) {
            const Slopes d = slopes(r, in[v], a[v], b[v], d_out[v], p.act);
            d_a[v] = d.du * d.x_hat;
            d_b[v] = d.du;
            sum[0] += d.v * d.u;
            sum[1] += d.v;
            sum[2] += d.du * a[v];
            sum[3] += d.du * a[v] * d.x_hat;
            sum[4] += d_a[v];
        }
        if (d_maps) {
            T* to = d_maps + row + sample * half + i;
            store(d_a, to);
            store(d_b, to + half);
        }
    }
    block_sum(sum);
    if (threadIdx.x == 0)
        for (int i = 0; i < kSums; ++i) sums[kSums * int64_t(blockIdx.x) + i] = sum[i];
}

// One block for a chunk of a group. dgamma, dbeta: (B, C), or null for maps; d_time (B, 2C).
template <class T, int V, class M>
__global__ void __launch_bounds__(kThreads) norm_slopes(Launch p, M modulation, const T* x, Timestep time,
                                                        const float* stats, const T* dy, const float* sums, T* dx,
                                                        float* dgamma, float* dbeta, float* d_time) {
    const int job = blockIdx.x / p.parts, part = blockIdx.x % p.parts, sample = job / p.groups;
    const int64_t first = int64_t(job) * p.width;  // the group's first channel, counted through the batch
    const int own_first = job % p.groups * p.width;  // and in its sample
    const Moments moments = {stats[2 * job], stats[2 * job + 1]};
    const float* own = sums + first * p.row_parts * kSums;
    float m = 0, m_x_hat = 0;
    for (int i = threadIdx.x % 32; i < p.width * p.row_parts; i += 32) {
        m += own[kSums * i + 2];
        m_x_hat += own[kSums * i + 3];
    }
    m = warp_sum(m) / float(p.n);
    m_x_hat = warp_sum(m_x_hat) / float(p.n);
    for_chunk<V>(p.n, part, [&](int i, int) {
        const int j = i / p.pixels;
        const Row r = row_of(moments, time, sample, own_first + j);
        float in[V], a[V], b[V], d[V];
        load(x + int64_t(job) * p.n + i, in);
        load(dy + int64_t(job) * p.n + i, d);
        modulation.at(sample, own_first + j, i % p.pixels, a, b);
#pragma unroll
        for (int v = 0; v < V; ++v) {
            const Slopes s = slopes(r, in[v], a[v], b[v], d[v], p.act);
            d[v] = slope_x(r, s.du * a[v], s.x_hat, m, m_x_hat);
        }
        store(d, dx + int64_t(job) * p.n + i);
    });
    if (part) return;
    for (int j = threadIdx.x; j < p.width; j += kThreads) {
        float u = 0, v = 0, gamma = 0;
        for (int i = j * p.row_parts; i < (j + 1) * p.row_parts; ++i) {
            u += own[kSums * i];
            v += own[kSums * i + 1];
            gamma += own[kSums * i + 4];
        }
        float* d_rows = d_time + (2 * int64_t(sample)) * p.channels + own_first + j;
        d_rows[0] = u;
        d_rows[p.channels] = v;
        if (dgamma) {
            dgamma[first + j] = gamma;
            dbeta[first + j] = row_of(moments, time, sample, own_first + j).s * v;
        }
    }
}

template <class T, int V, class M>
inline void norm_modulate_launch(const NormModulate& shape, const M& modulation, const T* x, const Timestep& time,
                                 float* chunks, T* y, float* stats) {
    const Launch p = launch_of(shape);
    const int64_t blocks = shape.batch * shape.groups * p.parts;
    if (p.parts > 1 && !shape.known) launch(part_moments<T, V>, blocks, kThreads, x, p.n, p.parts, chunks);
    launch(norm_apply<T, V, M>, blocks, kThreads, p, modulation, x, time, chunks, y, stats);
}

// chunks: scratch (B * G, chunks of a group, 2), or where they are known those of add_moments.cuh; stats (B, G, 2) or null.
template <class T, class M>
inline void norm_modulate_cuda(const NormModulate& p, const M& modulation, const T* x, const Timestep& time, float* chunks,
                               T* y, float* stats) {
    if (p.pixels % wide<T>() == 0 && aligned(x, y) && modulation.in_packs())
        norm_modulate_launch<T, wide<T>()>(p, modulation, x, time, chunks, y, stats);
    else
        norm_modulate_launch<T, 1>(p, modulation, x, time, chunks, y, stats);
}

template <class T, int V, class M>
inline void norm_modulate_grad_launch(const NormModulate& shape, const M& modulation, const T* x, const Timestep& time,
                                      const float* stats, const T* dy, float* sums, T* dx, T* d_maps, float* dgamma,
                                      float* dbeta, float* d_time) {
    const Launch p = launch_of(shape);
    const int64_t of_row = ceil_div(p.pixels < kChunk ? p.pixels : kChunk, 32 * V) * 32;  // threads for a channel's chunk
    launch(norm_sums<T, V, M>, shape.batch * shape.channels * p.row_parts, int(of_row < kThreads ? of_row : kThreads), p,
           modulation, x, time, stats, dy, sums, d_maps);
    launch(norm_slopes<T, V, M>, shape.batch * shape.groups * p.parts, kThreads, p, modulation, x, time, stats, dy,
           static_cast<const float*>(sums), dx, dgamma, dbeta, d_time);
}

// sums: scratch (B * C, chunks of a channel, 5); d_maps (B, 2C, N), or dgamma, dbeta (B, C), the others null.
template <class T, class M>
inline void norm_modulate_grad_cuda(const NormModulate& p, const M& modulation, const T* x, const Timestep& time,
                                    const float* stats, const T* dy, float* sums, T* dx, T* d_maps, float* dgamma,
                                    float* dbeta, float* d_time) {
    if (p.pixels % wide<T>() == 0 && aligned(x, dy, dx, d_maps) && modulation.in_packs())
        norm_modulate_grad_launch<T, wide<T>()>(p, modulation, x, time, stats, dy, sums, dx, d_maps, dgamma, dbeta, d_time);
    else
        norm_modulate_grad_launch<T, 1>(p, modulation, x, time, stats, dy, sums, dx, d_maps, dgamma, dbeta, d_time);
}

#endif
}  // namespace iidm
