// float to bfloat16 on a CPU, to the nearest number.
#pragma once
#ifndef IIDM_DEVICE          // Jittor finds no include of an include: who launches names both
#include <device.cuh>
#endif

namespace iidm {

inline void to_bf16_cpu(const float* from, Bf16* to, int64_t n) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; ++i) to[i] = nearest_bf16(from[i]);
}

}  // namespace iidm
