// Multi-head self-attention on packed q, k, v: softmax(q^T k / sqrt(D)) applied to v.
//
// qkv is (B, heads * 3 * D, L), channel-major and head by head: D channels of q, D of k, D of v. On the CPU the products are
// 2-D ones of oneDNN, a block of queries at a time, so that no L x L matrix is ever held: the scores of one block are.
// The GPU's part is attention_cuda.cuh.
#pragma once
#define IIDM_ATTENTION
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

extern "C" int dnnl_sgemm(char transa, char transb, int64_t m, int64_t n, int64_t k, float alpha, const float* a,
                          int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc);

namespace iidm {

struct Attention {
    int64_t batch, heads, width, length;  // B, heads, D, L
    float scale() const { return 1.0f / std::sqrt(float(width)); }
    // Queries of a block: the scores stay within 32 MB.
    int64_t block() const { return std::max<int64_t>(1, std::min(length, (int64_t(8) << 20) / length)); }
    // Many small products: one head per thread. A single large one: oneDNN's own threads. The choice depends on the heads
    // alone, since a product rounds differently on one thread and on several, and pictures must not depend on the batch.
    bool head_per_thread() const { return heads > 1; }
};

// p (rows, L) <- softmax over the keys of block q0.. of one head.
inline void probabilities(const Attention& a, const float* q, const float* k, int64_t q0, int64_t rows, float* p) {
    const int64_t l = a.length;
    dnnl_sgemm('T', 'N', rows, l, a.width, a.scale(), q + q0, l, k, l, 0.0f, p, l);
    auto softmax = [=](int64_t r) {
        float* __restrict__ row = p + r * l;
        float top = row[0];
        for (int64_t i = 1; i < l; ++i) top = row[i] > top ? row[i] : top;
        float sum = 0;
        for (int64_t i = 0; i < l; ++i) { row[i] = expf(row[i] - top); sum += row[i]; }
        const float inverse = 1.0f / sum;
        for (int64_t i = 0; i < l; ++i) row[i] *= inverse;
    };
    if (a.head_per_thread()) {
        for (int64_t r = 0; r < rows; ++r) softmax(r);
    } else {
#pragma omp parallel for schedule(static)
        for (int64_t r = 0; r < rows; ++r) softmax(r);
    }
}

inline void attention_head(const Attention& a, const float* q, float* out) {
    const int64_t l = a.length, d = a.width, step = a.block();
    const float *k = q + d * l, *v = k + d * l;
    std::vector<float> p(step * l);
    for (int64_t q0 = 0; q0 < l; q0 += step) {
        const int64_t rows = std::min(step, l - q0);
        probabilities(a, q, k, q0, rows, p.data());
        dnnl_sgemm('N', 'T', d, rows, l, 1.0f, v, l, p.data(), l, 0.0f, out + q0, l);
    }
}

inline void attention_head_grad(const Attention& a, const float* q, const float* d_out, float* dq) {
    const int64_t l = a.length, d = a.width, step = a.block();
    const float *k = q + d * l, *v = k + d * l;
    float *dk = dq + d * l, *dv = dk + d * l;
    std::vector<float> p(step * l), dp(step * l);
    for (int64_t q0 = 0; q0 < l; q0 += step) {
        const int64_t rows = std::min(step, l - q0);
        const float add = q0 ? 1.0f : 0.0f;
        probabilities(a, q, k, q0, rows, p.data());
        dnnl_sgemm('N', 'N', d, l, rows, 1.0f, d_out + q0, l, p.data(), l, add, dv, l);
        dnnl_sgemm('T', 'N', rows, l, d, 1.0f, d_out + q0, l, v, l, 0.0f, dp.data(), l);
        auto softmax_grad = [&](int64_t r) {
            const float* __restrict__ pr = p.data() + r * l;
            float* __restrict__ row = dp.data() + r * l;
            float dot = 0;
            for (int64_t i = 0; i < l; ++i) dot += pr[i] * row[i];
            for (int64_t i = 0; i < l; ++i) row[i] = pr[i] * (row[i] - dot);
        };
        if (a.head_per_thread()) {
            for (int64_t r = 0; r < rows; ++r) softmax_grad(r);
        } else {
#pragma omp parallel for schedule(static)
            for (int64_t r = 0; r < rows; ++r) softmax_grad(r);
        }
        dnnl_sgemm('N', 'T', d, rows, l, a.scale(), k, l, dp.data(), l, 0.0f, dq + q0, l);
        dnnl_sgemm('N', 'N', d, l, rows, a.scale(), q + q0, l, dp.data(), l, add, dk, l);
    }
}

// For every head: work(q of the head, its share of the (B, heads * D, L) array).
template <class F>
inline void for_each_head(const Attention& a, F work) {
    const int64_t head = a.width * a.length;
    if (a.head_per_thread()) {
#pragma omp parallel for schedule(dynamic)
        for (int64_t i = 0; i < a.batch * a.heads; ++i) work(i * 3 * head, i * head);
    } else {
        for (int64_t i = 0; i < a.batch; ++i) work(i * 3 * head, i * head);
    }
}

inline void attention_cpu(const Attention& a, const float* qkv, float* out) {
    for_each_head(a, [=](int64_t packed, int64_t plain) { attention_head(a, qkv + packed, out + plain); });
}

inline void attention_grad_cpu(const Attention& a, const float* qkv, const float* d_out, float* d_qkv) {
    for_each_head(a, [=](int64_t packed, int64_t plain) {
        attention_head_grad(a, qkv + packed, d_out + plain, d_qkv + packed);
    });
}

}  // namespace iidm
