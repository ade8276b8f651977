// Multi-head attention of many queries to few keys: v softmax(q^T k / sqrt(D))^T per head.
//
// q is (B, heads * D, L), k and v are (B, heads * D, M), channel-major. One head and a block of queries is one thread's work,
// with oneDNN's sgemm for its two products; its scores stay in the second-level cache between them.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

extern "C" int dnnl_sgemm(char transa, char transb, int64_t m, int64_t n, int64_t k, float alpha, const float* a,
                          int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc);

namespace iidm {

struct CrossAttention {
    int64_t heads, width, queries, keys;  // heads of all images; D, L, M
    // Queries of a block: the scores stay within 512 KB. It depends on the keys alone, so that a picture is computed in the
    // same pieces whatever the batch.
    int64_t block() const { return std::max<int64_t>(16, std::min(queries, (int64_t(1) << 17) / keys)); }
};

// The queries q0 .. q0 + rows of one head; p has room for rows * keys.
inline void cross_attention_block(const CrossAttention& a, const float* q, const float* k, const float* v, int64_t q0,
                                  int64_t rows, float* p, float* out) {
    const int64_t l = a.queries, m = a.keys, d = a.width;
    dnnl_sgemm('T', 'N', rows, m, d, 1.0f / std::sqrt(float(d)), q + q0, l, k, m, 0.0f, p, m);
    for (int64_t r = 0; r < rows; ++r) {
        float* __restrict__ row = p + r * m;
        float top = row[0];
        for (int64_t i = 1; i < m; ++i) top = row[i] > top ? row[i] : top;
        float sum = 0;
        for (int64_t i = 0; i < m; ++i) { row[i] = expf(row[i] - top); sum += row[i]; }
        const float inverse = 1.0f / sum;
        for (int64_t i = 0; i < m; ++i) row[i] *= inverse;
    }
    dnnl_sgemm('N', 'T', d, rows, m, 1.0f, v, m, p, m, 0.0f, out + q0, l);
}

inline void cross_attention_cpu(const CrossAttention& a, const float* q, const float* k, const float* v, float* out) {
    const int64_t step = a.block(), blocks = (a.queries + step - 1) / step;
#pragma omp parallel
    {
        std::vector<float> p(step * a.keys);
#pragma omp for schedule(dynamic)
        for (int64_t piece = 0; piece < a.heads * blocks; ++piece) {
            const int64_t head = piece / blocks, q0 = piece % blocks * step;
            const int64_t wide = head * a.width * a.queries, narrow = head * a.width * a.keys;
            cross_attention_block(a, q + wide, k + narrow, v + narrow, q0, std::min(step, a.queries - q0), p.data(), out + wide);
        }
    }
}

}  // namespace iidm
