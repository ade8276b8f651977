// float to bfloat16 on a CPU, to the nearest number, of two equally near to the even one, as a GPU does it.
#pragma once
#include <cstdint>
#include <cstring>

namespace iidm {

inline uint16_t nearest_bfloat16(float a) {
    uint32_t bits;
    std::memcpy(&bits, &a, sizeof bits);
    if ((bits & 0x7fffffff) > 0x7f800000) return uint16_t(bits >> 16 | 0x40);  // not a number; compared as bits under -Ofast
    return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

inline void to_bfloat16_cpu(const float* from, void* to, int64_t n) {
    uint16_t* out = static_cast<uint16_t*>(to);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; ++i) out[i] = nearest_bfloat16(from[i]);
}

}  // namespace iidm
