// Self-attention without gradient on a CPU that multiplies bfloat16: attention.cuh with products of bfloat16, summed in float32.
//
// Probabilities are rounded to bfloat16 before they meet v, as on a GPU; their sum is float32's and divides at the end.
#pragma once
#ifndef IIDM_ATTENTION   // Jittor finds no include of an include: attention.py names all
#include <device.cuh>
#include <attention.cuh>
#endif

// In oneDNN, if not in its headers: dnnl_sgemm's of bfloat16 numbers.
extern "C" int dnnl_gemm_bf16bf16f32(char transa, char transb, int64_t m, int64_t n, int64_t k, float alpha,
                                     const iidm::Bf16* a, int64_t lda, const iidm::Bf16* b, int64_t ldb, float beta, float* c, int64_t ldc);

namespace iidm {

// e^x for x <= 0 to 2e-6 of it, as 2^n times a polynomial in what is left: a loop of it is one of vector instructions.
inline float exp_below_0(float x) {
    const float t = std::max(x * 1.44269504f, -126.0f), n = std::floor(t + 0.5f), f = t - n;
    const float p = 1 + f * (0.69314718f + f * (0.24022651f + f * (0.05550411f + f * (0.00961813f + f * 0.00133336f))));
    const uint32_t bits = uint32_t(int32_t(n) + 127) << 23;
    float power;
    std::memcpy(&power, &bits, sizeof power);
    return p * power;
}

// One row of scores (L), times scale, -> exp(score - top) as bfloat16; returns 1 / their sum.
inline float exponentials(const float* __restrict__ scores, float scale, Bf16* __restrict__ p, int64_t l) {
    float top = scores[0], sum = 0;
    for (int64_t i = 1; i < l; ++i) top = scores[i] > top ? scores[i] : top;
    for (int64_t i = 0; i < l; ++i) {
        const float e = exp_below_0(scale * (scores[i] - top));
        sum += e;
        p[i] = nearest_bf16(e);
    }
    return 1.0f / sum;
}

inline void attention_bf16_head(const Attention& a, const Bf16* q, Bf16* out) {
    const int64_t l = a.length, d = a.width, step = std::max<int64_t>(1, a.block() / 3);
    const Bf16 *k = q + d * l, *v = k + d * l;
    std::vector<float> scores(step * std::max(l, d)), inverse(step);
    std::vector<Bf16> p(step * l);
    for (int64_t q0 = 0; q0 < l; q0 += step) {
        const int64_t rows = std::min(step, l - q0);
        // Unscaled: oneDNN takes two to four times as long for any other factor than 1.
        dnnl_gemm_bf16bf16f32('T', 'N', rows, l, d, 1.0f, q + q0, l, k, l, 0.0f, scores.data(), l);
        const auto softmax = [&](int64_t r) { inverse[r] = exponentials(scores.data() + r * l, a.scale(), p.data() + r * l, l); };
        if (a.head_per_thread()) {
            for (int64_t r = 0; r < rows; ++r) softmax(r);
        } else {
#pragma omp parallel for schedule(static)
            for (int64_t r = 0; r < rows; ++r) softmax(r);
        }
        float* sums = scores.data();                                       // (D, rows), where the scores were
        dnnl_gemm_bf16bf16f32('N', 'T', d, rows, l, 1.0f, v, l, p.data(), l, 0.0f, sums, rows);
        for (int64_t c = 0; c < d; ++c)
            for (int64_t r = 0; r < rows; ++r) out[c * l + q0 + r] = nearest_bf16(sums[c * rows + r] * inverse[r]);
    }
}

// qkv (B, heads * 3 * D, L) -> (B, heads * D, L), bfloat16.
inline void attention_bf16_cpu(const Attention& a, const Bf16* qkv, Bf16* out) {
    for_each_head(a, [=](int64_t packed, int64_t plain) { attention_bf16_head(a, qkv + packed, out + plain); });
}

}  // namespace iidm
