// Convolution (stride 1, same size) as one matrix product per image: y = W cols(x) + b, with oneDNN's sgemm.
//
// cols(x) is (Cin * k * k, N): for every tap of the kernel the image shifted by it, zeros outside. For k = 1 it is x itself.
// The weights are used as they lie; oneDNN's own convolution first rearranges them, which for 1024 x 1024 channels on 6 x 8
// pixels takes ten times as long as the arithmetic.
#pragma once
#define IIDM_CONV
#include <cstdint>
#include <cstring>
#include <vector>

#ifndef ONEAPI_DNNL_DNNL_H   // oneDNN's own header, where it comes first
extern "C" int dnnl_sgemm(char transa, char transb, int64_t m, int64_t n, int64_t k, float alpha, const float* a,
                          int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc);
#endif

namespace iidm {

struct Conv {
    int64_t batch, inputs, outputs, height, width, kernel;
    int64_t pixels() const { return height * width; }
    int64_t rows() const { return inputs * kernel * kernel; }  // of cols
};

// For every row of cols, in the order of the weights: tap(row, channel, dy, dx).
template <class F>
inline void for_each_row(const Conv& c, F tap) {
    const int64_t k = c.kernel, half = k / 2;
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < c.rows(); ++row) tap(row, row / (k * k), row / k % k - half, row % k - half);
}

template <class T>
inline void to_cols(const Conv& c, const T* x, T* cols) {
    for_each_row(c, [=](int64_t row, int64_t channel, int64_t dy, int64_t dx) {
        const T* image = x + channel * c.pixels();
        T* out = cols + row * c.pixels();
        for (int64_t i = 0; i < c.height; ++i)
            for (int64_t j = 0; j < c.width; ++j) {
                const bool inside = i + dy >= 0 && i + dy < c.height && j + dx >= 0 && j + dx < c.width;
                out[i * c.width + j] = inside ? image[(i + dy) * c.width + j + dx] : T{0};
            }
    });
}

// The transpose: every column entry added where it came from; a channel is one thread's, so the order is fixed.
inline void from_cols(const Conv& c, const float* cols, float* x) {
    const int64_t k = c.kernel, half = k / 2;
#pragma omp parallel for schedule(static)
    for (int64_t channel = 0; channel < c.inputs; ++channel) {
        float* image = x + channel * c.pixels();
        std::memset(image, 0, sizeof(float) * c.pixels());
        for (int64_t t = 0; t < k * k; ++t) {
            const float* in = cols + (channel * k * k + t) * c.pixels();
            const int64_t dy = t / k - half, dx = t % k - half;
            for (int64_t i = 0; i < c.height; ++i)
                for (int64_t j = 0; j < c.width; ++j)
                    if (i + dy >= 0 && i + dy < c.height && j + dx >= 0 && j + dx < c.width)
                        image[(i + dy) * c.width + j + dx] += in[i * c.width + j];
        }
    }
}

// x (B, Cin, H, W), w (Cout, Cin, k, k), b (Cout) -> y (B, Cout, H, W). Image by image: a product of the same size, and so
// of the same rounding, whatever the batch.
inline void conv_cpu(const Conv& c, const float* x, const float* w, const float* b, float* y) {
    const int64_t n = c.pixels();
    std::vector<float> scratch(c.kernel > 1 ? c.rows() * n : 0);
    for (int64_t image = 0; image < c.batch; ++image) {
        const float* in = x + image * c.inputs * n;
        float* out = y + image * c.outputs * n;
        for (int64_t o = 0; o < c.outputs; ++o)
            for (int64_t i = 0; i < n; ++i) out[o * n + i] = b[o];
        if (c.kernel > 1) to_cols(c, in, scratch.data());
        dnnl_sgemm('N', 'N', c.outputs, n, c.rows(), 1.0f, w, c.rows(), c.kernel > 1 ? scratch.data() : in, n, 1.0f, out, n);
    }
}

// dy (B, Cout, H, W) -> dx, dw, db like x, w, b.
inline void conv_grad_cpu(const Conv& c, const float* x, const float* w, const float* dy, float* dx, float* dw, float* db) {
    const int64_t n = c.pixels();
    std::vector<float> cols(c.kernel > 1 ? c.rows() * n : 0);
    std::memset(db, 0, sizeof(float) * c.outputs);
    for (int64_t image = 0; image < c.batch; ++image) {
        const float *in = x + image * c.inputs * n, *out = dy + image * c.outputs * n;
        for (int64_t o = 0; o < c.outputs; ++o) {
            float sum = 0;
            for (int64_t i = 0; i < n; ++i) sum += out[o * n + i];
            db[o] += sum;
        }
        if (c.kernel > 1) to_cols(c, in, cols.data());
        dnnl_sgemm('N', 'T', c.outputs, c.rows(), n, 1.0f, out, n, c.kernel > 1 ? cols.data() : in, n, image ? 1.0f : 0.0f,
                   dw, c.rows());
        float* d_in = dx + image * c.inputs * n;
        dnnl_sgemm('T', 'N', c.rows(), n, c.outputs, 1.0f, w, c.rows(), out, n, 0.0f, c.kernel > 1 ? cols.data() : d_in, n);
        if (c.kernel > 1) from_cols(c, cols.data(), d_in);
    }
}

}  // namespace iidm
