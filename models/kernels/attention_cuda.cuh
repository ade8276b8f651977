// Attention on a GPU: softmax(q^T k / sqrt(D)) applied to v, block by block of keys, so that no L x L matrix is in memory.
//
// A warp has 16 queries; it keeps the largest score so far, the sum of exponentials and the unnormalised result of each and
// rescales them when a larger score comes (online softmax; Milakov and Gimelshein 2018, Dao et al. 2022). Only the logarithm
// of the sum is saved. The backward pass computes the probabilities again, once for the queries and once for keys and values:
//
//   p = exp(s - lse),  dp = d_out^T v,  ds = p (dp - delta),  delta = sum over channels of d_out * out
//   dq = ds k / sqrt(D),  dk = ds^T q / sqrt(D),  dv = p^T d_out
//
// Compiled for sm_80 and sm_90 and played on a CPU (tests/play.h), not yet run on a GPU. For heads of 64 channels the
// forward kernel takes 103 registers (float: 151) and 27 KB of shared memory, the backward ones up to 192 (254) and 36 KB;
// none spills.
#pragma once
#ifndef IIDM_FRAGMENTS       // Jittor finds no include of an include: attention.py names all
#include <fragments.cuh>
#endif

#ifdef IIDM_GPU
namespace iidm {

// to[d][i] <- from[d][start + i], D channels of an array (D, L); zeros beyond its end.
template <int D, class T>
__device__ inline void load_tile(T* to, const T* from, int start, int length, bool packs) {
    constexpr int kTile = Tile<T>::kSize, kWide = Tile<T>::kWide, kRow = kTile / kWide;
    for (int i = threadIdx.x; i < D * kRow; i += Tile<T>::kThreads) {
        const int d = i / kRow, at = i % kRow * kWide;
        T* target = to + d * Tile<T>::kPitch + at;
        const T* source = from + int64_t(d) * length + start + at;
        if (packs && start + at < length) {
            *reinterpret_cast<Pack<T, kWide>*>(target) = *reinterpret_cast<const Pack<T, kWide>*>(source);
        } else {
            for (int v = 0; v < kWide; ++v) {
                if (start + at + v < length) target[v] = source[v];
                else from_float(0.0f, target[v]);
            }
        }
    }
}

// to[d][i] <- scale * c[i][d] for the warp's 16 positions from i on.
template <int N, class T>
__device__ inline void store_rows(T* to, const Block16x8 (&c)[N], float low, float high, int i, int length) {
#pragma unroll
    for (int n = 0; n < N; ++n)
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const int position = i + lane_row() + k / 2 * 8, d = 8 * n + lane_column() + k % 2;
            if (position < length) from_float((k < 2 ? low : high) * c[n].at[k], to[int64_t(d) * length + position]);
        }
}

__device__ inline float row_max(float a) {  // over the four lanes of a row
    a = fmaxf(a, __shfl_xor_sync(0xffffffffu, a, 1));
    return fmaxf(a, __shfl_xor_sync(0xffffffffu, a, 2));
}

__device__ inline float row_sum(float a) {
    a += __shfl_xor_sync(0xffffffffu, a, 1);
    return a + __shfl_xor_sync(0xffffffffu, a, 2);
}

// Which head a block works on, and which tile of it.
struct Place { int64_t packed, plain, row; int start, warp; };

template <int D, class T>
__device__ inline Place place(int length) {
    constexpr int kTile = Tile<T>::kSize;
    const int tiles = (length + kTile - 1) / kTile;
    const int64_t head = blockIdx.x / tiles;
    return {head * 3 * D * length, head * D * length, head * length, int(blockIdx.x % tiles) * kTile,
            int(threadIdx.x) / 32 * 16};
}

// One block for a tile of queries of a head. lse (B * heads, L).
template <class T, int D>
__global__ void __launch_bounds__(Tile<T>::kThreads) attention_kernel(const T* qkv, T* out, float* lse, int length,
                                                                           float scale, bool packs) {
    constexpr int kTile = Tile<T>::kSize, kScores = kTile / 8, kChannels = D / 8;
    alignas(16) __shared__ T q[D * Tile<T>::kPitch], k[D * Tile<T>::kPitch], v[D * Tile<T>::kPitch];
    const Place at = place<D, T>(length);
    const T* own = qkv + at.packed;
    load_tile<D>(q, own, at.start, length, packs);
    Block16x8 result[kChannels];
    clear(result);
    float top[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};  // of rows l / 4 and l / 4 + 8
    for (int j = 0; j < length; j += kTile) {
        __syncthreads();  // all have done with the last tiles
        load_tile<D>(k, own + int64_t(D) * length, j, length, packs);
        load_tile<D>(v, own + int64_t(2 * D) * length, j, length, packs);
        __syncthreads();
        Block16x8 p[kScores];
        clear(p);
        add_scores<D>(p, q + at.warp, k);
        float larger[2] = {top[0], top[1]};
#pragma unroll
        for (int n = 0; n < kScores; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                p[n].at[i] = j + 8 * n + lane_column() + i % 2 < length ? p[n].at[i] * scale : -INFINITY;
                larger[i / 2] = fmaxf(larger[i / 2], p[n].at[i]);
            }
        float factor[2], added[2] = {0, 0};
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            larger[r] = row_max(larger[r]);
            factor[r] = expf(top[r] - larger[r]);  // 0 the first time
            top[r] = larger[r];
        }
#pragma unroll
        for (int n = 0; n < kScores; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                p[n].at[i] = expf(p[n].at[i] - top[i / 2]);
                added[i / 2] += p[n].at[i];
            }
        for (int r = 0; r < 2; ++r) sum[r] = sum[r] * factor[r] + row_sum(added[r]);
#pragma unroll
        for (int n = 0; n < kChannels; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) result[n].at[i] *= factor[i / 2];
        add_values(result, p, v);
    }
    store_rows(out + at.plain, result, 1.0f / sum[0], 1.0f / sum[1], at.start + at.warp, length);
    if (threadIdx.x % 4 == 0)
        for (int r = 0; r < 2; ++r) {
            const int i = at.start + at.warp + lane_row() + 8 * r;
            if (i < length) lse[at.row + i] = top[r] + logf(sum[r]);
        }
}

// delta[i] = sum over channels of out * d_out; one thread for a position.
template <class T>
__global__ void __launch_bounds__(128) attention_delta(const T* out, const T* d_out, float* delta, int64_t positions, int width,
                                                       int length) {
    const int64_t at = int64_t(blockIdx.x) * 128 + threadIdx.x;
    if (at >= positions) return;
    const int64_t from = at / length * width * length + at % length;
    float sum = 0;
    for (int d = 0; d < width; ++d)
        sum += to_float(out[from + int64_t(d) * length]) * to_float(d_out[from + int64_t(d) * length]);
    delta[at] = sum;
}

// One block for a tile of queries (kOfKeys false: dq) or of keys (true: dk and dv), against all tiles of the others.
template <class T, int D, bool kOfKeys>
__global__ void __launch_bounds__(Tile<T>::kThreads) attention_grad(const T* qkv, const T* d_out, const float* lse,
                                                                         const float* delta, T* d_qkv, int length, float scale,
                                                                         bool packs) {
    constexpr int kTile = Tile<T>::kSize, kScores = kTile / 8, kChannels = D / 8;
    // own: q and d_out, or k and v, of the block's positions; other: the opposite.
    alignas(16) __shared__ T own[2][D * Tile<T>::kPitch], other[2][D * Tile<T>::kPitch];
    const Place at = place<D, T>(length);
    const int64_t channels = int64_t(D) * length;
    const T *q = qkv + at.packed, *k = q + channels, *v = k + channels, *d = d_out + at.plain;
    load_tile<D>(own[0], kOfKeys ? k : q, at.start, length, packs);
    load_tile<D>(own[1], kOfKeys ? v : d, at.start, length, packs);
    Block16x8 first[kChannels], second[kChannels];  // dk or dq; dv
    clear(first);
    clear(second);
    for (int j = 0; j < length; j += kTile) {
        __syncthreads();
        load_tile<D>(other[0], kOfKeys ? q : k, j, length, packs);
        load_tile<D>(other[1], kOfKeys ? d : v, j, length, packs);
        __syncthreads();
        Block16x8 p[kScores], dp[kScores];
        clear(p);
        clear(dp);
        add_scores<D>(p, own[0] + at.warp, other[0]);
        add_scores<D>(dp, own[1] + at.warp, other[1]);
#pragma unroll
        for (int n = 0; n < kScores; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int row = at.start + at.warp + lane_row() + i / 2 * 8, column = j + 8 * n + lane_column() + i % 2;
                const int query = kOfKeys ? column : row;
                const bool inside = row < length && column < length;
                p[n].at[i] = inside ? expf(p[n].at[i] * scale - lse[at.row + query]) : 0.0f;
                dp[n].at[i] = inside ? p[n].at[i] * (dp[n].at[i] - delta[at.row + query]) : 0.0f;
            }
        add_values(first, dp, other[0]);
        if (kOfKeys) add_values(second, p, other[1]);
    }
    const int i = at.start + at.warp;
    store_rows(d_qkv + at.packed + (kOfKeys ? channels : 0), first, scale, scale, i, length);
    if (kOfKeys) store_rows(d_qkv + at.packed + 2 * channels, second, 1.0f, 1.0f, i, length);
}

template <class T, int D>
inline void attention_launch(const Attention& a, const T* qkv, T* out, float* lse) {
    const bool packs = a.length % wide<T>() == 0 && aligned(qkv);
    launch(attention_kernel<T, D>, a.batch * a.heads * ceil_div(a.length, Tile<T>::kSize), Tile<T>::kThreads, qkv, out, lse,
           int(a.length), a.scale(), packs);
}

// a.width: 32 or 64.
template <class T>
inline void attention_cuda(const Attention& a, const T* qkv, T* out, float* lse) {
    if (a.width == 64) attention_launch<T, 64>(a, qkv, out, lse);
    else attention_launch<T, 32>(a, qkv, out, lse);
}

template <class T, int D>
inline void attention_grad_launch(const Attention& a, const T* qkv, const T* out, const float* lse, const T* d_out,
                                  float* delta, T* d_qkv) {
    const int64_t heads = a.batch * a.heads, positions = heads * a.length, blocks = heads * ceil_div(a.length, Tile<T>::kSize);
    const int length = int(a.length), threads = Tile<T>::kThreads;
    const bool packs = a.length % wide<T>() == 0 && aligned(qkv, d_out);
    launch(attention_delta<T>, ceil_div(positions, 128), 128, out, d_out, delta, positions, D, length);
    launch(attention_grad<T, D, false>, blocks, threads, qkv, d_out, lse, delta, d_qkv, length, a.scale(), packs);
    launch(attention_grad<T, D, true>, blocks, threads, qkv, d_out, lse, delta, d_qkv, length, a.scale(), packs);
}

// delta: scratch (B * heads, L).
template <class T>
inline void attention_grad_cuda(const Attention& a, const T* qkv, const T* out, const float* lse, const T* d_out, float* delta,
                                T* d_qkv) {
    if (a.width == 64) attention_grad_launch<T, 64>(a, qkv, out, lse, d_out, delta, d_qkv);
    else attention_grad_launch<T, 32>(a, qkv, out, lse, d_out, delta, d_qkv);
}

}  // namespace iidm
#endif
