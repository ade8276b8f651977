// Plays CUDA kernels on a CPU: the real source, block after block, every thread on a stack of its own.
//
// A thread runs until it waits for its warp or its block; when all that it waits for have come, they go on. Threads take
// turns in ascending or descending order: a missing barrier shows as a result that depends on the order. Shuffles and the
// tensor cores' fragments follow the PTX manual (ldmatrix; mma.m16n8k16: a thread of lane l holds rows l / 4 and l / 4 + 8,
// columns 2 (l % 4) and the next). What it cannot show: memory ordering, speed, and the rounding of fast GPU arithmetic.
#pragma once
#define IIDM_PLAY
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static

struct Index { int x; };
static Index threadIdx, blockIdx, blockDim, gridDim;

// ---------------------------------------------------------------------------------------------------- 16-bit numbers

struct __half { uint16_t bits; };
struct __nv_bfloat16 { uint16_t bits; };

inline float __half2float(__half a) {
    const int exponent = a.bits >> 10 & 31, digits = a.bits & 1023;
    const float size = exponent == 31 ? (digits ? NAN : INFINITY)
                     : exponent ? std::ldexp(float(1024 + digits), exponent - 25) : std::ldexp(float(digits), -24);
    return a.bits >> 15 ? -size : size;
}

inline __half __float2half_rn(float a) {
    const uint16_t sign = std::signbit(a) ? 0x8000 : 0;
    const float size = std::fabs(a);
    if (a != a) return {0x7fff};
    if (size >= 65520) return {uint16_t(sign | 0x7c00)};
    int exponent = 0;
    std::frexp(size, &exponent);
    exponent = exponent - 11 < -24 ? -24 : exponent - 11;                       // of the last digit
    const int digits = int(std::nearbyint(std::ldexp(size, -exponent)));        // to even; up to 2048
    return {uint16_t(sign | (digits < 1024 ? digits : (((exponent + 24) << 10) + digits)))};
}

inline float __bfloat162float(__nv_bfloat16 a) {
    const uint32_t bits = uint32_t(a.bits) << 16;
    float to;
    std::memcpy(&to, &bits, 4);
    return to;
}

inline __nv_bfloat16 __float2bfloat16_rn(float a) {
    uint32_t bits;
    std::memcpy(&bits, &a, 4);
    if (a != a) return {0x7fff};
    return {uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

// ---------------------------------------------------------------------------------------------------- threads

namespace play {

enum State { kReady, kAtWarp, kAtBlock, kDone };
struct Slot { unsigned char bytes[32]; };
struct Thread {
    ucontext_t context;
    State state;
    std::vector<char> stack;
    int exchanges;
};

static std::vector<Thread> threads;
static ucontext_t scheduler;
static std::vector<Slot> slots;              // two sets, used in turn: one barrier per exchange is enough
static std::function<void()> work;
static bool backwards = false;
static const char* failure = nullptr;

inline void wait(State state) {
    Thread& thread = threads[threadIdx.x];
    thread.state = state;
    swapcontext(&thread.context, &scheduler);
}

inline void body() {
    work();
    threads[threadIdx.x].state = kDone;
}

// Lets those of [first, last) go on who wait at `at`, if all that still run do.
inline bool release(int first, int last, State at) {
    int waiting = 0, running = 0;
    for (int i = first; i < last; ++i) {
        waiting += threads[i].state == at;
        running += threads[i].state != kDone;
    }
    if (!waiting || waiting < running) return false;
    for (int i = first; i < last; ++i)
        if (threads[i].state == at) threads[i].state = kReady;
    return true;
}

inline void block() {
    const int n = blockDim.x;
    for (;;) {
        bool ran = false;
        for (int turn = 0; turn < n; ++turn) {
            const int i = backwards ? n - 1 - turn : turn;
            if (threads[i].state != kReady) continue;
            ran = true;
            threadIdx.x = i;
            swapcontext(&scheduler, &threads[i].context);
        }
        bool freed = false;
        for (int first = 0; first < n; first += 32) freed |= release(first, first + 32 < n ? first + 32 : n, kAtWarp);
        freed |= release(0, n, kAtBlock);
        if (!ran && !freed) break;
    }
    for (const Thread& thread : threads)
        if (thread.state != kDone) failure = "threads wait for others that never come";
}

// What each thread of the warp gave, 32 slots.
template <class T>
inline const T& given(int lane, int set) {
    return *reinterpret_cast<const T*>(&slots[(set * 32 + threadIdx.x / 32) * 32 + lane]);
}

template <class T>
inline int exchange(const T& mine) {
    static_assert(sizeof(T) <= sizeof(Slot), "a slot is too small");
    const int set = threads[threadIdx.x].exchanges++ % 2;
    std::memcpy(&slots[(set * 32 + threadIdx.x / 32) * 32 + threadIdx.x % 32], &mine, sizeof(T));
    wait(kAtWarp);
    return set;
}

}  // namespace play

inline void __syncthreads() { play::wait(play::kAtBlock); }
inline void __syncwarp() { play::wait(play::kAtWarp); }

template <class T>
inline T __shfl_xor_sync(unsigned, T value, int lanes) {
    const int set = play::exchange(value);
    return play::given<T>((threadIdx.x % 32) ^ lanes, set);
}

template <class T>
inline T __shfl_sync(unsigned, T value, int lane) {
    const int set = play::exchange(value);
    return play::given<T>(lane, set);
}

namespace iidm {

template <class... P, class... A>
inline void launch(void (*kernel)(P...), int64_t blocks, int threads, A... arguments) {
    play::work = [=] { kernel(arguments...); };
    if (threads % 32 || threads > 1024) play::failure = "a block is 32 to 1024 threads, a multiple of 32";
    play::threads.resize(threads);
    play::slots.resize(2 * 32 * 32);
    blockDim.x = threads;
    gridDim.x = int(blocks);
    for (int64_t b = 0; b < blocks && !play::failure; ++b) {
        blockIdx.x = int(b);
        for (auto& thread : play::threads) {
            thread.stack.resize(64 << 10);
            thread.exchanges = 0;
            thread.state = play::kReady;
            getcontext(&thread.context);
            thread.context.uc_stack.ss_sp = thread.stack.data();
            thread.context.uc_stack.ss_size = thread.stack.size();
            thread.context.uc_link = &play::scheduler;
            makecontext(&thread.context, play::body, 0);
        }
        play::block();
    }
}

// ---------------------------------------------------------------------------------------------------- tensor cores

// Lane l names the row l % 8 of matrix l / 8 and gets of each row l / 4, columns 2 (l % 4) and the next.
inline void load_matrices(uint32_t (&to)[4], const void* row) {
    const int set = play::exchange(static_cast<const uint16_t*>(row)), lane = threadIdx.x % 32;
    for (int m = 0; m < 4; ++m) {
        const uint16_t* from = play::given<const uint16_t*>(8 * m + lane / 4, set) + lane % 4 * 2;
        to[m] = from[0] | uint32_t(from[1]) << 16;
    }
}

inline void load_matrices_transposed(uint32_t (&to)[4], const void* row) {
    const int set = play::exchange(static_cast<const uint16_t*>(row)), lane = threadIdx.x % 32;
    for (int m = 0; m < 4; ++m) {
        const auto from = [=](int r) { return play::given<const uint16_t*>(8 * m + r, set)[lane / 4]; };
        to[m] = from(lane % 4 * 2) | uint32_t(from(lane % 4 * 2 + 1)) << 16;
    }
}

inline float widened(__half a) { return __half2float(a); }
inline float widened(__nv_bfloat16 a) { return __bfloat162float(a); }

// mma.m16n8k16: a[0] is row l / 4, a[1] row l / 4 + 8, of columns 2 (l % 4) and the next; a[2] and a[3] are 8 columns on.
// b[0] is rows 2 (l % 4) and the next of column l / 4, b[1] is 8 rows on.
template <class T>
inline void multiply_add(T, float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    struct Fragments { uint32_t a[4], b[2]; };
    const int set = play::exchange(Fragments{{a[0], a[1], a[2], a[3]}, {b0, b1}}), lane = threadIdx.x % 32;
    const auto half = [](uint32_t pair, int k) { return widened(T{uint16_t(k % 2 ? pair >> 16 : pair)}); };
    for (int i = 0; i < 4; ++i) {
        const int row = lane / 4, column = lane % 4 * 2 + i % 2;
        for (int k = 0; k < 16; ++k) {
            const Fragments& left = play::given<Fragments>(row * 4 + k % 8 / 2, set);
            const Fragments& right = play::given<Fragments>(column * 4 + k % 8 / 2, set);
            c[i] += half(left.a[i / 2 + k / 8 * 2], k) * half(right.b[k / 8], k);
        }
    }
}

}  // namespace iidm
