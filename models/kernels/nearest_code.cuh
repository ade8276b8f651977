// The nearest row of a codebook for every vector: index[i] = argmin_j |z_i - e_j|^2, the first one of equals.
#pragma once
#include <cstdint>
#include <vector>

namespace iidm {

// z (N, D), codebook (K, D) -> index (N).
inline void nearest_code_cpu(const float* z, const float* codebook, int32_t* index, int64_t n, int64_t k, int64_t d) {
    constexpr int64_t kTile = 64;  // codes compared at a time, so that the arithmetic is vectorised over codes
    const int64_t padded = (k + kTile - 1) / kTile * kTile;
    std::vector<float> columns(padded * d, 1.0e15f);  // the codebook transposed; what pads it is far from everything
    for (int64_t j = 0; j < k; ++j)
        for (int64_t c = 0; c < d; ++c) columns[c * padded + j] = codebook[j * d + c];
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; ++i) {
        float best = 3.0e38f;
        int64_t found = 0;
        for (int64_t start = 0; start < padded; start += kTile) {
            float distance[kTile] = {};
            for (int64_t c = 0; c < d; ++c) {
                const float value = z[i * d + c];
                const float* __restrict__ column = columns.data() + c * padded + start;
                for (int64_t j = 0; j < kTile; ++j) distance[j] += (value - column[j]) * (value - column[j]);
            }
            float least = distance[0];
            for (int64_t j = 1; j < kTile; ++j) least = distance[j] < least ? distance[j] : least;
            if (least < best) {
                best = least;
                for (int64_t j = kTile - 1; j >= 0; --j)
                    if (distance[j] == least) found = start + j;
            }
        }
        index[i] = int32_t(found);
    }
}

}  // namespace iidm
