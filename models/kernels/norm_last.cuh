// Group normalisation, modulation and SiLU on a GPU where channels are last: x, y (B, N, C), maps (B, N, 2C), the arithmetic of
// norm_modulate.cuh.
//
// A block takes a chunk of the pixels and the channels of some groups, side by side. A thread has one column of it, V channels
// of a group, and goes down its pixels; neighbouring threads read neighbouring numbers. Moments are gathered in one pass, a
// pixel's V numbers at a time, by the formula of Chan et al. 1979, which loses no digits where a mean is far from zero: within
// a thread, a block and between the chunks. Compiled for sm_80 and sm_90 and played on a CPU (tests/play.h), not yet run on a
// GPU.
#pragma once
#define IIDM_NORM_LAST
#ifndef IIDM_NORM_MODULATE    // Jittor finds no include of an include: norm_modulate.py names all
#include <norm_modulate.cuh>
#endif

#ifdef IIDM_GPU
namespace iidm {

constexpr int kMostParts = 64, kPixels = 4;  // LAST_PARTS of norm_modulate.py; pixels of a chunk at least

// What the kernels know of the shapes. packs: columns of a group; some: groups of a block; side: blocks for all groups;
// wide: columns of a block, or as many of them as it has threads; tall: pixels that a block takes at a time; parts: chunks of
// pixels, of `part` each.
struct LastLaunch {
    int channels, pixels, groups, width, packs, some, side, wide, tall, part, parts;
    float eps;
    bool act;
    IIDM_HD int threads() const { return (wide * tall + 31) / 32 * 32; }
    IIDM_HD int count(int i) const { return pixels - i * part < part ? pixels - i * part : part; }  // pixels of chunk i
};

template <int V>
inline LastLaunch last_launch_of(const NormModulate& p) {
    LastLaunch l = {int(p.channels), int(p.pixels), int(p.groups), int(p.width()), int(p.width()) / V};
    const int most = l.packs < kThreads ? kThreads / l.packs : 1;
    l.side = int(ceil_div(l.groups, most));
    l.some = int(ceil_div(l.groups, l.side));
    l.wide = l.some * l.packs < kThreads ? l.some * l.packs : kThreads;
    l.tall = kThreads / l.wide;
    const int even = int(ceil_div(p.pixels, kMostParts));
    l.part = even > kPixels ? even : kPixels;  // whatever V: add_moments.cuh has the same chunks
    l.parts = int(ceil_div(p.pixels, l.part));
    l.eps = p.eps;
    l.act = p.act;
    return l;
}

// Which sample, groups and pixels a block has, and which of its columns and pixels a thread begins with.
struct Corner {
    int sample, part, group, groups, column, row;  // group: the first; groups: how many
    int64_t pixel;                                 // the chunk's first, counted through the batch
    bool works;                                    // a thread beyond the last row has nothing to do
};

__device__ inline Corner corner_of(const LastLaunch& p) {
    const int at = int(blockIdx.x), sample = at / (p.parts * p.side), part = at / p.side % p.parts, group = at % p.side * p.some;
    const int t = int(threadIdx.x);
    return {sample, part, group, p.groups - group < p.some ? p.groups - group : p.some, t % p.wide, t / p.wide,
            int64_t(sample) * p.pixels + int64_t(part) * p.part, t < p.wide * p.tall};
}

struct Gathered { float count, mean, square; };  // of some numbers: how many, their mean, the sum of squares about it

__device__ inline Gathered merged(const Gathered& a, const Gathered& b) {
    const float count = a.count + b.count, share = count > 0 ? b.count / count : 0.0f, d = b.mean - a.mean;
    return {count, a.mean + d * share, a.square + b.square + d * d * a.count * share};
}

__device__ inline Gathered warp_merged(Gathered a) {  // the first thread of a warp gets all
    for (int step = 16; step; step /= 2) {
        const Gathered b = {__shfl_xor_sync(0xffffffffu, a.count, step), __shfl_xor_sync(0xffffffffu, a.mean, step),
                            __shfl_xor_sync(0xffffffffu, a.square, step)};
        a = merged(a, b);
    }
    return a;
}

// Calls f(group, lane) by all threads of a warp, for every group of the block, counted from its first.
template <class F>
__device__ inline void for_groups(const Corner& at, F f) {
    for (int g = int(threadIdx.x) / 32; g < at.groups; g += int(blockDim.x) / 32) f(g, int(threadIdx.x) % 32);
}

// By all threads of a block. read(i, c, x): x <- V values from i on, of channels from c on; chunks (B * G, kMostParts, 2): a
// chunk's mean and sum of squares about it.
template <int V, class Read>
__device__ inline void gather_moments(const LastLaunch& p, float* chunks, Read read) {
    __shared__ Gathered of_thread[kThreads];
    const Corner at = corner_of(p);
    const int columns = at.groups * p.packs, count = p.count(at.part);
    Gathered own = {0, 0, 0};
    for (int column = at.column; at.works && column < columns; column += p.wide) {  // more than one: all of one group
        const int c = at.group * p.width + column * V;
#pragma unroll 4
        for (int i = at.row; i < count; i += p.tall) {
            float x[V], sum = 0, square = 0;
            read((at.pixel + i) * p.channels + c, c, x);
#pragma unroll
            for (int v = 0; v < V; ++v) sum += x[v];
            const float mean = sum / float(V);
#pragma unroll
            for (int v = 0; v < V; ++v) square += (x[v] - mean) * (x[v] - mean);
            own = merged(own, {float(V), mean, square});
        }
    }
    of_thread[threadIdx.x] = own;
    __syncthreads();
    const int packs = p.packs < p.wide ? p.packs : p.wide;
    for_groups(at, [&](int g, int lane) {
        Gathered all = {0, 0, 0};
        for (int i = lane; i < p.tall * packs; i += 32) all = merged(all, of_thread[i / packs * p.wide + g * packs + i % packs]);
        all = warp_merged(all);
        if (lane == 0) {
            float* to = chunks + 2 * ((int64_t(at.sample) * p.groups + at.group + g) * kMostParts + at.part);
            to[0] = all.mean;
            to[1] = all.square;
        }
    });
}

template <class T, int V>
__global__ void __launch_bounds__(kThreads) last_moments(LastLaunch p, const T* __restrict__ x, float* __restrict__ chunks) {
    gather_moments<V>(p, chunks, [=](int64_t i, int, float (&to)[V]) { load(x + i, to); });
}

// Where a and b of u = x_hat * a + b come from: of V channels from c on, once for a thread (begin) and at every pixel.
struct AffineLast {
    const float *gamma, *beta;
    bool in_packs() const { return true; }
    template <int V>
    __device__ void begin(int c, float (&a)[V], float (&b)[V]) const {
#pragma unroll
        for (int v = 0; v < V; ++v) { a[v] = gamma[c + v]; b[v] = beta[c + v]; }
    }
    template <int V>
    __device__ void at(int, int, int, float (&)[V], float (&)[V]) const {}
};

template <class T>
struct MapsLast {
    const T* maps;
    int channels, pixels;
    bool in_packs() const { return aligned(maps); }
    template <int V>
    __device__ void begin(int, float (&)[V], float (&)[V]) const {}
    template <int V>
    __device__ void at(int sample, int pixel, int c, float (&a)[V], float (&b)[V]) const {
        const T* from = maps + (int64_t(sample) * pixels + pixel) * 2 * channels + c;
        load(from, a);
        load(from + channels, b);
#pragma unroll
        for (int v = 0; v < V; ++v) a[v] += 1.0f;
    }
};

// stats (B, G, 2) or null.
template <class T, int V, class M>
__global__ void __launch_bounds__(kThreads) last_apply(LastLaunch p, M modulation, const T* __restrict__ x, Timestep time,
                                                       const float* __restrict__ chunks, T* __restrict__ y, float* stats) {
    __shared__ float of_group[kThreads][2];
    const Corner at = corner_of(p);
    for_groups(at, [&](int g, int lane) {
        const int64_t job = int64_t(at.sample) * p.groups + at.group + g;
        Gathered all = {0, 0, 0};
        for (int i = lane; i < p.parts; i += 32) {
            const float* chunk = chunks + 2 * (job * kMostParts + i);
            all = merged(all, {float(p.count(i)) * float(p.width), chunk[0], chunk[1]});
        }
        all = warp_merged(all);
        if (lane) return;
        of_group[g][0] = all.mean;
        of_group[g][1] = 1.0f / sqrtf(all.square / all.count + p.eps);
        if (stats && at.part == 0)
            for (int i = 0; i < 2; ++i) stats[2 * job + i] = of_group[g][i];
    });
    __syncthreads();
    const int columns = at.groups * p.packs, count = p.count(at.part);
    for (int column = at.column; at.works && column < columns; column += p.wide) {
        const int g = column / p.packs, c = at.group * p.width + column * V;
        const Moments m = {of_group[g][0], of_group[g][1]};
        Row rows[V];
        float a[V], b[V];
#pragma unroll
        for (int v = 0; v < V; ++v) rows[v] = row_of(m, time, at.sample, c + v);
        modulation.begin(c, a, b);
#pragma unroll 2
        for (int i = at.row; i < count; i += p.tall) {
            const int64_t from = (at.pixel + i) * p.channels + c;
            float in[V];
            load(x + from, in);
            modulation.at(at.sample, at.part * p.part + i, c, a, b);
#pragma unroll
            for (int v = 0; v < V; ++v) {
                in[v] = modulate(rows[v], in[v], a[v], b[v]);
                if (p.act) in[v] = silu(in[v]);
            }
            store(in, y + from);
        }
    }
}

constexpr int kLastSums = 3;  // over a chunk of a channel: of dv * u, dv and du * x_hat

// sums (B, kMostParts, 3, C) and, of d x_hat and d x_hat * x_hat, of_groups (B * G, kMostParts, 2); d_maps (B, N, 2C) or null.
template <class T, int V, class M>
__global__ void __launch_bounds__(kThreads) last_sums(LastLaunch p, M modulation, const T* __restrict__ x, Timestep time,
                                                      const float* __restrict__ stats, const T* __restrict__ dy,
                                                      float* __restrict__ sums, float* __restrict__ of_groups,
                                                      T* __restrict__ d_maps) {
    __shared__ float of_thread[kThreads][V];
    const Corner at = corner_of(p);
    const int columns = at.groups * p.packs, count = p.count(at.part);
    float group_sum[2] = {0, 0};
    for (int start = 0; start < columns; start += p.wide) {  // by all threads: they wait for each other within
        const int column = start + at.column, c = at.group * p.width + column * V;
        const bool works = at.works && column < columns;
        float sum[kLastSums][V] = {}, a[V], b[V];
        if (works) {
            const float* own = stats + 2 * (int64_t(at.sample) * p.groups + at.group + column / p.packs);
            Row rows[V];
#pragma unroll
            for (int v = 0; v < V; ++v) rows[v] = row_of({own[0], own[1]}, time, at.sample, c + v);
            modulation.begin(c, a, b);
            for (int i = at.row; i < count; i += p.tall) {
                const int64_t from = (at.pixel + i) * p.channels + c;
                float in[V], d_out[V], d_a[V], d_b[V];
                load(x + from, in);
                load(dy + from, d_out);
                modulation.at(at.sample, at.part * p.part + i, c, a, b);
#pragma unroll
                for (int v = 0; v < V; ++v) {
                    const Slopes d = slopes(rows[v], in[v], a[v], b[v], d_out[v], p.act);
                    d_a[v] = d.du * d.x_hat;
                    d_b[v] = d.du;
                    sum[0][v] += d.v * d.u;
                    sum[1][v] += d.v;
                    sum[2][v] += d_a[v];
                    group_sum[0] += d.du * a[v];
                    group_sum[1] += d.du * a[v] * d.x_hat;
                }
                if (d_maps) {
                    T* to = d_maps + (at.pixel + i) * 2 * p.channels + c;
                    store(d_a, to);
                    store(d_b, to + p.channels);
                }
            }
        }
#pragma unroll
        for (int k = 0; k < kLastSums; ++k) {
#pragma unroll
            for (int v = 0; v < V; ++v) of_thread[threadIdx.x][v] = sum[k][v];
            __syncthreads();
            if (works && at.row == 0)
                for (int v = 0; v < V; ++v) {
                    float total = 0;
                    for (int row = 0; row < p.tall; ++row) total += of_thread[row * p.wide + at.column][v];
                    sums[((int64_t(at.sample) * kMostParts + at.part) * kLastSums + k) * p.channels + c + v] = total;
                }
            __syncthreads();
        }
    }
    const int packs = p.packs < p.wide ? p.packs : p.wide;
#pragma unroll
    for (int k = 0; k < 2; ++k) {
        of_thread[threadIdx.x][0] = group_sum[k];
        __syncthreads();
        for_groups(at, [&](int g, int lane) {
            float total = 0;
            for (int i = lane; i < p.tall * packs; i += 32) total += of_thread[i / packs * p.wide + g * packs + i % packs][0];
            total = warp_sum(total);
            if (lane == 0) of_groups[2 * ((int64_t(at.sample) * p.groups + at.group + g) * kMostParts + at.part) + k] = total;
        });
        __syncthreads();
    }
}

// dgamma, dbeta: (B, C), or null for maps; d_time (B, 2C).
template <class T, int V, class M>
__global__ void __launch_bounds__(kThreads) last_slopes(LastLaunch p, M modulation, const T* __restrict__ x, Timestep time,
                                                        const float* __restrict__ stats, const T* __restrict__ dy,
                                                        const float* __restrict__ sums, const float* __restrict__ of_groups,
                                                        T* __restrict__ dx, float* dgamma, float* dbeta, float* d_time) {
    __shared__ float means[kThreads][2];
    const Corner at = corner_of(p);
    for_groups(at, [&](int g, int lane) {
        const float* own = of_groups + 2 * (int64_t(at.sample) * p.groups + at.group + g) * kMostParts;
        for (int k = 0; k < 2; ++k) {
            float total = 0;
            for (int i = lane; i < p.parts; i += 32) total += own[2 * i + k];
            total = warp_sum(total);
            if (lane == 0) means[g][k] = total / (float(p.width) * float(p.pixels));
        }
    });
    __syncthreads();
    const int columns = at.groups * p.packs, count = p.count(at.part);
    for (int column = at.column; at.works && column < columns; column += p.wide) {
        const int g = column / p.packs, c = at.group * p.width + column * V;
        const float* own = stats + 2 * (int64_t(at.sample) * p.groups + at.group + g);
        Row rows[V];
        float a[V], b[V];
#pragma unroll
        for (int v = 0; v < V; ++v) rows[v] = row_of({own[0], own[1]}, time, at.sample, c + v);
        modulation.begin(c, a, b);
        for (int i = at.row; i < count; i += p.tall) {
            const int64_t from = (at.pixel + i) * p.channels + c;
            float in[V], d[V];
            load(x + from, in);
            load(dy + from, d);
            modulation.at(at.sample, at.part * p.part + i, c, a, b);
#pragma unroll
            for (int v = 0; v < V; ++v) {
                const Slopes s = slopes(rows[v], in[v], a[v], b[v], d[v], p.act);
                d[v] = slope_x(rows[v], s.du * a[v], s.x_hat, means[g][0], means[g][1]);
            }
            store(d, dx + from);
        }
    }
    if (at.part) return;
    for (int j = threadIdx.x; j < at.groups * p.width; j += int(blockDim.x)) {
        const int c = at.group * p.width + j;
        float total[kLastSums] = {};
        for (int i = 0; i < p.parts; ++i)
            for (int k = 0; k < kLastSums; ++k)
                total[k] += sums[((int64_t(at.sample) * kMostParts + i) * kLastSums + k) * p.channels + c];
        float* d_rows = d_time + 2 * int64_t(at.sample) * p.channels + c;
        d_rows[0] = total[0];
        d_rows[p.channels] = total[1];
        if (dgamma) {
            dgamma[int64_t(at.sample) * p.channels + c] = total[2];
            dbeta[int64_t(at.sample) * p.channels + c] = (1.0f + time.scale(at.sample, c)) * total[1];
        }
    }
}

template <class T, int V, class M>
inline void norm_last_launch(const NormModulate& shape, const M& modulation, const T* x, const Timestep& time, float* chunks,
                             T* y, float* stats) {
    const LastLaunch p = last_launch_of<V>(shape);
    const int64_t blocks = shape.batch * p.parts * p.side;
    if (!shape.known) launch(last_moments<T, V>, blocks, p.threads(), p, x, chunks);
    launch(last_apply<T, V, M>, blocks, p.threads(), p, modulation, x, time, static_cast<const float*>(chunks), y, stats);
}

// chunks: scratch (B * G, kMostParts, 2), or where they are known those of add_moments.cuh; stats (B, G, 2) or null.
template <class T, class M>
inline void norm_last_cuda(const NormModulate& p, const M& modulation, const T* x, const Timestep& time, float* chunks, T* y,
                           float* stats) {
    if (p.width() % wide<T>() == 0 && aligned(x, y) && modulation.in_packs())
        norm_last_launch<T, wide<T>()>(p, modulation, x, time, chunks, y, stats);
    else
        norm_last_launch<T, 1>(p, modulation, x, time, chunks, y, stats);
}

template <class T, int V, class M>
inline void norm_last_grad_launch(const NormModulate& shape, const M& modulation, const T* x, const Timestep& time,
                                  const float* stats, const T* dy, float* sums, T* dx, T* d_maps, float* dgamma, float* dbeta,
                                  float* d_time) {
    const LastLaunch p = last_launch_of<V>(shape);
    const int64_t blocks = shape.batch * p.parts * p.side;
    float* of_groups = sums + shape.batch * kMostParts * kLastSums * shape.channels;
    launch(last_sums<T, V, M>, blocks, p.threads(), p, modulation, x, time, stats, dy, sums, of_groups, d_maps);
    launch(last_slopes<T, V, M>, blocks, p.threads(), p, modulation, x, time, stats, dy, static_cast<const float*>(sums),
           static_cast<const float*>(of_groups), dx, dgamma, dbeta, d_time);
}

// sums: scratch (B, kMostParts, 3C + 2G); d_maps (B, N, 2C), or dgamma, dbeta (B, C), the others null.
template <class T, class M>
inline void norm_last_grad_cuda(const NormModulate& p, const M& modulation, const T* x, const Timestep& time, const float* stats,
                                const T* dy, float* sums, T* dx, T* d_maps, float* dgamma, float* dbeta, float* d_time) {
    if (p.width() % wide<T>() == 0 && aligned(x, dy, dx, d_maps) && modulation.in_packs())
        norm_last_grad_launch<T, wide<T>()>(p, modulation, x, time, stats, dy, sums, dx, d_maps, dgamma, dbeta, d_time);
    else
        norm_last_grad_launch<T, 1>(p, modulation, x, time, stats, dy, sums, dx, d_maps, dgamma, dbeta, d_time);
}

}  // namespace iidm
#endif
