// Bilinear resizing by tables: out[i] lies between in[low[i]] and in[high[i]], at `share` of the way.
#pragma once
#include <cstdint>
#include <limits>
#include <vector>

namespace iidm {

struct Taps {
    const int32_t *low, *high;
    const float* share;
    int64_t size;  // of the result, along this axis
};

// One row of the result from two rows of a plane: first down the columns, then along the row.
struct RowBetween {
    std::vector<float> between;
    explicit RowBetween(int64_t width) : between(width) {}
    const float* operator()(const Taps& rows, int64_t i, const float* plane) {
        const int64_t width = int64_t(between.size());
        const float* __restrict__ above = plane + rows.low[i] * width;
        const float* __restrict__ below = plane + rows.high[i] * width;
        const float share = rows.share[i];
        float* __restrict__ t = between.data();
        for (int64_t j = 0; j < width; ++j) t[j] = above[j] + share * (below[j] - above[j]);
        return t;
    }
};

// x: `planes` images of `height` x `width` -> y: as many of rows.size x columns.size.
inline void resize_cpu(const Taps& rows, const Taps& columns, int64_t planes, int64_t height, int64_t width, const float* x,
                       float* y) {
#pragma omp parallel
    {
        RowBetween row(width);
#pragma omp for schedule(static)
        for (int64_t p = 0; p < planes; ++p)
            for (int64_t i = 0; i < rows.size; ++i) {
                const float* t = row(rows, i, x + p * height * width);
                float* __restrict__ out = y + (p * rows.size + i) * columns.size;
                for (int64_t j = 0; j < columns.size; ++j) {
                    const float a = t[columns.low[j]];
                    out[j] = a + columns.share[j] * (t[columns.high[j]] - a);
                }
            }
    }
}

// logits (B, K, height, width) -> the class with the largest resized logit, the first one of equals,
// (B, rows.size, columns.size). A row at a time, so that the resized logits of all classes are never held.
inline void label_map_cpu(const Taps& rows, const Taps& columns, int64_t batch, int64_t classes, int64_t height, int64_t width,
                          const float* logits, int32_t* labels) {
#pragma omp parallel
    {
        RowBetween row(width);
        std::vector<float> largest(columns.size);
        float* __restrict__ top = largest.data();
#pragma omp for schedule(static)
        for (int64_t line = 0; line < batch * rows.size; ++line) {
            const float* image = logits + line / rows.size * classes * height * width;
            int32_t* __restrict__ out = labels + line * columns.size;
            for (int64_t j = 0; j < columns.size; ++j) top[j] = -std::numeric_limits<float>::max(), out[j] = 0;
            for (int64_t k = 0; k < classes; ++k) {
                const float* t = row(rows, line % rows.size, image + k * height * width);
                for (int64_t j = 0; j < columns.size; ++j) {
                    const float a = t[columns.low[j]];
                    const float value = a + columns.share[j] * (t[columns.high[j]] - a);
                    out[j] = value > top[j] ? int32_t(k) : out[j];
                    top[j] = value > top[j] ? value : top[j];
                }
            }
        }
    }
}

}  // namespace iidm
