// Depthwise convolution: every channel with a k x k kernel of its own, and bias.
#pragma once
#include <algorithm>
#include <cstdint>

namespace iidm {

struct Depthwise {
    int64_t batch, channels, height, width;            // of x
    int64_t rows, columns;                             // of y
    int64_t kernel, stride, dilation, before;          // before: zeros above and to the left
};

// One channel of one image. A row of y stays in the cache while the taps are added to it one by one, each as a run of
// multiplications and additions without conditions.
inline void depthwise_plane(const Depthwise& d, const float* x, const float* w, float b, float* y) {
    for (int64_t i = 0; i < d.rows; ++i) {
        float* __restrict__ out = y + i * d.columns;
        for (int64_t j = 0; j < d.columns; ++j) out[j] = b;
        for (int64_t tap = 0; tap < d.kernel * d.kernel; ++tap) {
            const int64_t row = i * d.stride + tap / d.kernel * d.dilation - d.before;
            const int64_t shift = tap % d.kernel * d.dilation - d.before;
            if (row < 0 || row >= d.height) continue;
            // The columns j with 0 <= j * stride + shift < width.
            const int64_t first = shift < 0 ? (-shift + d.stride - 1) / d.stride : 0;
            const int64_t last = d.width > shift ? std::min(d.columns, (d.width - shift - 1) / d.stride + 1) : 0;
            const float weight = w[tap];
            const float* __restrict__ in = x + row * d.width + shift;
            if (d.stride == 1)
                for (int64_t j = first; j < last; ++j) out[j] += weight * in[j];
            else
                for (int64_t j = first; j < last; ++j) out[j] += weight * in[j * d.stride];
        }
    }
}

// x (B, C, H, W), w (C, 1, k, k), b (C) -> y (B, C, H', W').
inline void depthwise_cpu(const Depthwise& d, const float* x, const float* w, const float* b, float* y) {
#pragma omp parallel for schedule(static)
    for (int64_t plane = 0; plane < d.batch * d.channels; ++plane) {
        const int64_t c = plane % d.channels;
        depthwise_plane(d, x + plane * d.height * d.width, w + c * d.kernel * d.kernel, b[c], y + plane * d.rows * d.columns);
    }
}

}  // namespace iidm
