// Maximum and mean over 3x3 windows of images with their channels last; what lies beyond the border counts for neither.
#pragma once
#include <algorithm>
#include <cstdint>

namespace iidm {

struct Pool {
    int64_t batch, height, width, channels, rows, columns;     // rows, columns: of y
    int64_t stride, padding;
    bool mean;
};

// x (B, H, W, C) -> y (B, H', W', C). The channels of a pixel are one run of numbers.
inline void pool_cpu(const Pool& p, const float* x, float* y) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < p.batch * p.rows; ++row) {
        const float* image = x + row / p.rows * p.height * p.width * p.channels;
        const int64_t top = row % p.rows * p.stride - p.padding;
        const int64_t first = std::max<int64_t>(top, 0), last = std::min(top + 3, p.height);
        for (int64_t j = 0; j < p.columns; ++j) {
            const int64_t left = j * p.stride - p.padding, from = std::max<int64_t>(left, 0), to = std::min(left + 3, p.width);
            float* __restrict__ out = y + (row * p.columns + j) * p.channels;
            std::copy_n(image + (first * p.width + from) * p.channels, p.channels, out);
            for (int64_t i = first; i < last; ++i)
                for (int64_t k = from; k < to; ++k) {
                    if (i == first && k == from) continue;
                    const float* __restrict__ in = image + (i * p.width + k) * p.channels;
                    if (p.mean) for (int64_t c = 0; c < p.channels; ++c) out[c] += in[c];
                    else for (int64_t c = 0; c < p.channels; ++c) out[c] = std::max(out[c], in[c]);
                }
            const float share = 1.0f / float((last - first) * (to - from));
            if (p.mean) for (int64_t c = 0; c < p.channels; ++c) out[c] *= share;
        }
    }
}

}  // namespace iidm
