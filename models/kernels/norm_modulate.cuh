// Group normalisation, modulation and SiLU in one pass over the data.
//
//   x_hat = (x - mean) * rstd                        per sample and group, two-pass statistics
//   u     = x_hat * a + b                            affine: a = gamma[c];  SPADE: a = 1 + gamma[b, c, i]
//   v     = u * (1 + scale[b, c]) + shift[b, c]      the timestep's scale and shift, where there is one
//   y     = silu(v) or v
//
// The element-wise arithmetic is shared between the processors; a group of one sample is one piece of work for one
// thread, so that results depend neither on the number of threads nor on the batch.
#pragma once
#define IIDM_NORM_MODULATE
#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define IIDM_HD __host__ __device__ inline
#else
#define IIDM_HD inline
#endif

namespace iidm {

IIDM_HD float silu(float v) { return v / (1.0f + expf(-v)); }

IIDM_HD float silu_slope(float v) {
    float s = 1.0f / (1.0f + expf(-v));
    return s * (1.0f + v * (1.0f - s));
}

// Shapes: x, y (B, C, N) with N = H * W; gamma, beta (C) or (B, C, N) when maps; scale, shift (B, C) or null.
struct NormModulate {
    int64_t batch, channels, pixels, groups;
    bool maps, act;
    float eps;
    int64_t width() const { return channels / groups; }  // channels of a group
};

// Sums run over blocks in float and over blocks' sums in double: exact enough for any image, and vectorised.
constexpr int64_t kBlock = 2048;

template <class F>
inline double block_sum(int64_t n, F term) {
    double total = 0;
    for (int64_t start = 0; start < n; start += kBlock) {
        const int64_t end = start + kBlock < n ? start + kBlock : n;
        float sum = 0;
        for (int64_t i = start; i < end; ++i) sum += term(i);
        total += sum;
    }
    return total;
}

struct Moments { float mean, rstd; };

// Of a group's n values, in two passes.
inline Moments moments(const float* x, int64_t n, float eps) {
    const float mean = float(block_sum(n, [=](int64_t i) { return x[i]; }) / double(n));
    const double square = block_sum(n, [=](int64_t i) { float d = x[i] - mean; return d * d; });
    return {mean, float(1.0 / std::sqrt(square / double(n) + double(eps)))};
}

// Writes y and, for the backward pass, stats (B, G, 2) = mean, rstd.
inline void norm_modulate_cpu(const NormModulate& p, const float* x, const float* gamma, const float* beta,
                              const float* scale, const float* shift, float* y, float* stats) {
    const int64_t n = p.pixels, width = p.width();
#pragma omp parallel for schedule(static)
    for (int64_t job = 0; job < p.batch * p.groups; ++job) {
        const int64_t b = job / p.groups, first = (job % p.groups) * width;
        const float* group = x + (b * p.channels + first) * n;
        const Moments m = moments(group, width * n, p.eps);
        const float mean = m.mean, rstd = m.rstd;
        stats[2 * job] = mean;
        stats[2 * job + 1] = rstd;
        for (int64_t j = 0; j < width; ++j) {
            const int64_t c = first + j, row = (b * p.channels + c) * n;
            const float* __restrict__ in = x + row;
            float* __restrict__ out = y + row;
            const float s = scale ? 1.0f + scale[b * p.channels + c] : 1.0f;
            const float t = shift ? shift[b * p.channels + c] : 0.0f;
            if (p.maps) {
                const float* __restrict__ g = gamma + row;
                const float* __restrict__ h = beta + row;
                if (p.act)
                    for (int64_t i = 0; i < n; ++i) out[i] = silu(((in[i] - mean) * rstd * (1.0f + g[i]) + h[i]) * s + t);
                else
                    for (int64_t i = 0; i < n; ++i) out[i] = ((in[i] - mean) * rstd * (1.0f + g[i]) + h[i]) * s + t;
            } else {
                const float a = gamma[c], h = beta[c];
                if (p.act)
                    for (int64_t i = 0; i < n; ++i) out[i] = silu(((in[i] - mean) * rstd * a + h) * s + t);
                else
                    for (int64_t i = 0; i < n; ++i) out[i] = ((in[i] - mean) * rstd * a + h) * s + t;
            }
        }
    }
}

// Writes dx; dgamma, dbeta (B, C) sums or (B, C, N) maps; dscale, dshift (B, C).
inline void norm_modulate_grad_cpu(const NormModulate& p, const float* dy, const float* x, const float* gamma,
                                   const float* beta, const float* scale, const float* shift, const float* stats,
                                   float* dx, float* dgamma, float* dbeta, float* dscale, float* dshift) {
    const int64_t n = p.pixels, width = p.width();
#pragma omp parallel for schedule(static)
    for (int64_t job = 0; job < p.batch * p.groups; ++job) {
        const int64_t b = job / p.groups, first = (job % p.groups) * width;
        const float mean = stats[2 * job], rstd = stats[2 * job + 1];
        double sum = 0, sum_x_hat = 0;  // of d x_hat and of d x_hat * x_hat over the group
        for (int64_t j = 0; j < width; ++j) {
            const int64_t c = first + j, at = b * p.channels + c, row = at * n;
            const float* __restrict__ in = x + row;
            const float* __restrict__ d_out = dy + row;
            const float* __restrict__ g = p.maps ? gamma + row : gamma + c;
            const float* __restrict__ h = p.maps ? beta + row : beta + c;
            float* __restrict__ d_in = dx + row;  // holds d x_hat until the group's sums are known
            float* __restrict__ d_g = p.maps ? dgamma + row : nullptr;
            float* __restrict__ d_h = p.maps ? dbeta + row : nullptr;
            const float s = scale ? 1.0f + scale[at] : 1.0f, t = shift ? shift[at] : 0.0f;
            double total_u = 0, total_v = 0, total_gamma = 0;
            for (int64_t start = 0; start < n; start += kBlock) {
                const int64_t end = start + kBlock < n ? start + kBlock : n;
                float block_u = 0, block_v = 0, block_gamma = 0, block_x = 0, block_xx = 0;
                if (p.maps) {
                    for (int64_t i = start; i < end; ++i) {
                        const float x_hat = (in[i] - mean) * rstd, a = 1.0f + g[i], u = x_hat * a + h[i];
                        const float dv = p.act ? d_out[i] * silu_slope(u * s + t) : d_out[i], du = dv * s;
                        d_in[i] = du * a;
                        d_g[i] = du * x_hat;
                        d_h[i] = du;
                        block_u += dv * u; block_v += dv;
                        block_x += du * a; block_xx += du * a * x_hat;
                    }
                } else {
                    const float a = g[0], offset = h[0];
                    for (int64_t i = start; i < end; ++i) {
                        const float x_hat = (in[i] - mean) * rstd, u = x_hat * a + offset;
                        const float dv = p.act ? d_out[i] * silu_slope(u * s + t) : d_out[i], du = dv * s;
                        d_in[i] = du * a;
                        block_u += dv * u; block_v += dv; block_gamma += du * x_hat;
                        block_x += du * a; block_xx += du * a * x_hat;
                    }
                }
                total_u += block_u; total_v += block_v; total_gamma += block_gamma;
                sum += block_x; sum_x_hat += block_xx;
            }
            if (!p.maps) {
                dgamma[at] = float(total_gamma);
                dbeta[at] = float(total_v * double(s));
            }
            dscale[at] = float(total_u);
            dshift[at] = float(total_v);
        }
        const float m = float(sum / double(width * n)), m_x_hat = float(sum_x_hat / double(width * n));
        const float* __restrict__ in = x + (b * p.channels + first) * n;
        float* __restrict__ d_in = dx + (b * p.channels + first) * n;
        for (int64_t i = 0; i < width * n; ++i) d_in[i] = rstd * (d_in[i] - m - (in[i] - mean) * rstd * m_x_hat);
    }
}

}  // namespace iidm
