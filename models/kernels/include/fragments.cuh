// A warp's 16 rows of a matrix product, in registers as the tensor cores of sm_80 and later hold them (mma.m16n8k16).
//
// Of every 16 x 8 block lane l holds rows l / 4 and l / 4 + 8, columns 2 (l % 4) and the next: at[0], at[1], at[2], at[3].
// Operands lie in shared memory, channel-major like everything here: tile[channel][position].
//
//   add_scores   c[i][j] += sum over channels d of a[d][i] * b[d][j]        two tiles -> scores
//   add_values   c[i][d] += sum over positions j of p[i][j] * b[d][j]       scores and a tile -> channels
//
// 16-bit numbers go through the tensor cores, summed in float32 (p is rounded to them first); float ones through ordinary
// multiplications, exactly, on the same layout. Tensor cores have no twin on a CPU: tests/play.h plays the instructions as
// the PTX manual defines them.
#pragma once
#define IIDM_FRAGMENTS
#ifndef IIDM_DEVICE          // Jittor finds no include of an include: attention.py names all
#include <device.cuh>
#endif

#ifdef IIDM_GPU
namespace iidm {

struct Block16x8 { float at[4]; };

__device__ inline int lane_row() { return int(threadIdx.x) % 32 / 4; }
__device__ inline int lane_column() { return int(threadIdx.x) % 4 * 2; }

// Positions of a tile, of one of its rows in shared memory (padded, so that the lanes of a warp meet in no bank), of a 16-byte
// access; threads of a block that has a warp for every 16 positions.
template <class T>
struct Tile {
    static constexpr int kWide = 16 / sizeof(T), kSize = sizeof(T) == 2 ? 64 : 32, kPitch = kSize + kWide, kThreads = kSize * 2;
};

template <int N>
__device__ inline void clear(Block16x8 (&c)[N]) {
#pragma unroll
    for (int n = 0; n < N; ++n) c[n] = {{0, 0, 0, 0}};
}

// ---------------------------------------------------------------------------------------------------- float

// a: a tile from the warp's first row on.
template <int D, int N>
__device__ inline void add_scores(Block16x8 (&c)[N], const float* a, const float* b) {
    constexpr int kPitch = Tile<float>::kPitch;
    for (int d = 0; d < D; ++d) {
        const float low = a[d * kPitch + lane_row()], high = a[d * kPitch + lane_row() + 8];
#pragma unroll
        for (int n = 0; n < N; ++n) {
            const float* value = b + d * kPitch + 8 * n + lane_column();
            c[n].at[0] += low * value[0];
            c[n].at[1] += low * value[1];
            c[n].at[2] += high * value[0];
            c[n].at[3] += high * value[1];
        }
    }
}

// The scores of 8 positions lie in the four lanes of a row, two each, and go round.
template <int N, int M>
__device__ inline void add_values(Block16x8 (&c)[N], const Block16x8 (&p)[M], const float* b) {
    constexpr int kPitch = Tile<float>::kPitch;
    const int first = int(threadIdx.x) % 32 / 4 * 4;
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
        for (int j = 0; j < 8; ++j) {
            const float low = __shfl_sync(0xffffffffu, p[m].at[j % 2], first + j / 2);
            const float high = __shfl_sync(0xffffffffu, p[m].at[2 + j % 2], first + j / 2);
#pragma unroll
            for (int n = 0; n < N; ++n) {
                const float* value = b + (8 * n + lane_column()) * kPitch + 8 * m + j;
                c[n].at[0] += low * value[0];
                c[n].at[1] += low * value[kPitch];
                c[n].at[2] += high * value[0];
                c[n].at[3] += high * value[kPitch];
            }
        }
}

// ---------------------------------------------------------------------------------------------------- tensor cores

#ifdef __CUDACC__

// Four 8 x 8 matrices of 16-bit numbers: lane l names the row l % 8 of matrix l / 8 and gets of each matrix row l / 4,
// columns 2 (l % 4) and the next; transposed: column l / 4, rows 2 (l % 4) and the next.
__device__ inline void load_matrices(uint32_t (&to)[4], const void* row) {
    const unsigned address = unsigned(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(address) : "memory");
}

__device__ inline void load_matrices_transposed(uint32_t (&to)[4], const void* row) {
    const unsigned address = unsigned(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(address) : "memory");
}

#define IIDM_MULTIPLY(TYPE, NAME)                                                                                          \
    __device__ inline void multiply_add(TYPE, float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {           \
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." NAME "." NAME ".f32 "                                        \
                     "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                                     \
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                                      \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));                                      \
    }
IIDM_MULTIPLY(__half, "f16")
IIDM_MULTIPLY(__nv_bfloat16, "bf16")
#undef IIDM_MULTIPLY

#endif

// Two floats as 16-bit numbers, the first in the low half.
template <class T>
__device__ inline uint32_t pair(float low, float high) {
    Pack<T, 2> both;
    from_float(low, both.at[0]);
    from_float(high, both.at[1]);
    return *reinterpret_cast<const uint32_t*>(&both);
}

// The product's a is tile a transposed and its b tile b as it lies: both fragments are of matrices read transposed.
template <int D, int N, class T>
__device__ inline void add_scores(Block16x8 (&c)[N], const T* a, const T* b) {
    static_assert(N % 2 == 0, "blocks are read in pairs");
    constexpr int kPitch = Tile<T>::kPitch;
    const int lane = int(threadIdx.x) % 32, row = lane % 8, matrix = lane / 8;
#pragma unroll
    for (int d = 0; d < D; d += 16) {
        uint32_t left[4];  // rows 0-7 and 8-15 of channels 0-7, then of channels 8-15
        load_matrices_transposed(left, a + (d + matrix / 2 * 8 + row) * kPitch + matrix % 2 * 8);
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            uint32_t right[4];  // channels 0-7 and 8-15 of positions 0-7, then of positions 8-15
            load_matrices_transposed(right, b + (d + matrix % 2 * 8 + row) * kPitch + 8 * n + matrix / 2 * 8);
            multiply_add(T(), c[n].at, left, right[0], right[1]);
            multiply_add(T(), c[n + 1].at, left, right[2], right[3]);
        }
    }
}

// A block of scores is laid out as half a fragment of a; channels are the columns, so that tile b is read as it lies.
template <int N, int M, class T>
__device__ inline void add_values(Block16x8 (&c)[N], const Block16x8 (&p)[M], const T* b) {
    static_assert(N % 2 == 0 && M % 2 == 0, "blocks are read in pairs");
    constexpr int kPitch = Tile<T>::kPitch;
    const int lane = int(threadIdx.x) % 32, row = lane % 8, matrix = lane / 8;
#pragma unroll
    for (int m = 0; m < M; m += 2) {
        const uint32_t left[4] = {pair<T>(p[m].at[0], p[m].at[1]), pair<T>(p[m].at[2], p[m].at[3]),
                                  pair<T>(p[m + 1].at[0], p[m + 1].at[1]), pair<T>(p[m + 1].at[2], p[m + 1].at[3])};
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            uint32_t right[4];  // positions 0-7 and 8-15 of channels 0-7, then of channels 8-15
            load_matrices(right, b + (8 * n + matrix / 2 * 8 + row) * kPitch + 8 * m + matrix % 2 * 8);
            multiply_add(T(), c[n].at, left, right[0], right[1]);
            multiply_add(T(), c[n + 1].at, left, right[2], right[3]);
        }
    }
}

}  // namespace iidm
#endif
