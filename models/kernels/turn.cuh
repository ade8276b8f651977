// The last two axes of an array exchanged: x (B, M, N) -> y (B, N, M), numbers moved as they are.
//
// By tiles, so that both are read and written along their rows: of 1,024 numbers on a GPU, through shared memory, and where one
// axis is shorter than 32, as the taps of a weight are, the tile is that much longer along the other. Compiled for sm_80 and
// sm_90 and played on a CPU (tests/play.h), not yet run on a GPU.
#pragma once
#ifndef IIDM_DEVICE          // Jittor finds no include of an include: turn.py names both
#include <device.cuh>
#endif

namespace iidm {

struct Turn { int64_t batch, rows, columns; };  // B, M, N

constexpr int kSide = 32;

template <class T>
inline void turn_cpu(const Turn& t, const T* x, T* y) {
    const int64_t strips = (t.rows + kSide - 1) / kSide;
#pragma omp parallel for schedule(static)
    for (int64_t job = 0; job < t.batch * strips; ++job) {
        const T* __restrict__ from = x + job / strips * t.rows * t.columns;
        T* __restrict__ to = y + job / strips * t.rows * t.columns;
        const int64_t first = job % strips * kSide, last = first + kSide < t.rows ? first + kSide : t.rows;
        for (int64_t start = 0; start < t.columns; start += kSide) {
            const int64_t end = start + kSide < t.columns ? start + kSide : t.columns;
            for (int64_t j = start; j < end; ++j)
                for (int64_t i = first; i < last; ++i) to[j * t.rows + i] = from[i * t.columns + j];
        }
    }
}

#ifdef IIDM_GPU

constexpr int kTileSize = kSide * kSide;

struct TurnTiles { int rows, columns, tall, wide, down, across; };  // of the array, of a tile, and how many tiles

inline int long_side(int64_t other) { return int(other < kSide ? kTileSize / other / kSide * kSide : kSide); }

inline TurnTiles tiles_of(const Turn& t) {
    const int tall = int(t.rows < kSide ? t.rows : long_side(t.columns));
    const int wide = int(t.columns < kSide ? t.columns : long_side(t.rows));
    return {int(t.rows), int(t.columns), tall, wide, int(ceil_div(t.rows, tall)), int(ceil_div(t.columns, wide))};
}

// One block for a tile.
template <class T>
__global__ void __launch_bounds__(256) turn_kernel(TurnTiles t, const T* x, T* y) {
    __shared__ T tile[kTileSize + kTileSize];   // rows of odd length: neighbours in a column meet in no bank
    const int pitch = t.wide | 1, place = int(blockIdx.x) % (t.down * t.across);
    const int64_t start = int64_t(blockIdx.x) / (t.down * t.across) * t.rows * t.columns;
    const int top = place / t.across * t.tall, left = place % t.across * t.wide;
    const int tall = t.rows - top < t.tall ? t.rows - top : t.tall, wide = t.columns - left < t.wide ? t.columns - left : t.wide;
    for (int i = threadIdx.x; i < tall * wide; i += int(blockDim.x))
        tile[i / wide * pitch + i % wide] = x[start + int64_t(top + i / wide) * t.columns + left + i % wide];
    __syncthreads();
    for (int i = threadIdx.x; i < tall * wide; i += int(blockDim.x))
        y[start + int64_t(left + i / tall) * t.rows + top + i % tall] = tile[i % tall * pitch + i / tall];
}

template <class T>
inline void turn_cuda(const Turn& shape, const T* x, T* y) {
    const TurnTiles t = tiles_of(shape);
    launch(turn_kernel<T>, shape.batch * t.down * t.across, 256, t, x, y);
}

#endif
}  // namespace iidm
