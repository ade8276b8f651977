// Convolution of bfloat16 numbers on a CPU that multiplies them (AVX512_BF16), by oneDNN, with sums in float32.
//
// One image after the other, so that the same sums are taken in the same order whatever the batch. Few pixels or a 1x1 kernel:
// a matrix product, as in conv.cuh. Else oneDNN's convolution in the layouts that it asks for; arrays are brought into them in
// memory that all calls share.
#pragma once
#ifndef IIDM_CONV            // Jittor finds no include of an include: conv.py names all, and oneDNN's header before them
#include <conv.cuh>
#include <device.cuh>
#include <dnnl.hpp>
#endif
#include <array>
#include <map>

// In the library, if not in its headers: bfloat16 products as dnnl_sgemm's, summed in float32.
extern "C" int dnnl_gemm_bf16bf16f32(char transa, char transb, int64_t m, int64_t n, int64_t k, float alpha,
                                     const iidm::Bf16* a, int64_t lda, const iidm::Bf16* b, int64_t ldb, float beta, float* c, int64_t ldc);

namespace iidm {

struct ConvBf16 {
    Conv shape;                                   // height and width of x
    int64_t stride, padding;
    int64_t out(int64_t n) const { return (n + 2 * padding - shape.kernel) / stride + 1; }
};

inline void conv_bf16_product(const Conv& c, const Bf16* x, const Bf16* w, const float* b, Bf16* y) {
    const int64_t n = c.pixels();
    static std::vector<Bf16> cols;
    static std::vector<float> sums;
    if (c.kernel > 1) cols.resize(c.rows() * n);
    sums.resize(c.outputs * n);
    for (int64_t image = 0; image < c.batch; ++image) {
        const Bf16* in = x + image * c.inputs * n;
        if (c.kernel > 1) to_cols(c, in, cols.data());
        dnnl_gemm_bf16bf16f32('N', 'N', c.outputs, n, c.rows(), 1.0f, w, c.rows(), c.kernel > 1 ? cols.data() : in, n, 0.0f,
                              sums.data(), n);
        Bf16* out = y + image * c.outputs * n;
#pragma omp parallel for schedule(static)
        for (int64_t o = 0; o < c.outputs; ++o)
            for (int64_t i = 0; i < n; ++i) out[o * n + i] = nearest_bf16(sums[o * n + i] + b[o]);
    }
}

// oneDNN's convolution of one shape, and its arrays' ways into its layouts and back.
struct Plan {
    dnnl::convolution_forward conv;
    dnnl::memory x, w, b, y, x_own, w_own, y_own;  // as given, and as the convolution wants them
    dnnl::reorder x_in, w_in, y_out;
    size_t bytes;

    static size_t room(const dnnl::memory::desc& d) { return (d.get_size() + 63) / 64 * 64; }

    Plan(const ConvBf16& c, const dnnl::engine& engine) {
        using namespace dnnl;
        const auto bf16 = memory::data_type::bf16;
        const Conv& s = c.shape;
        const memory::dims xs = {1, s.inputs, s.height, s.width}, ws = {s.outputs, s.inputs, s.kernel, s.kernel},
                           ys = {1, s.outputs, c.out(s.height), c.out(s.width)}, bs = {s.outputs},
                           step = {c.stride, c.stride}, pad = {c.padding, c.padding};
        const auto any = [&](const memory::dims& size) { return memory::desc(size, bf16, memory::format_tag::any); };
        const memory::desc b_like(bs, memory::data_type::f32, memory::format_tag::x);
        const convolution_forward::primitive_desc made({prop_kind::forward_inference, algorithm::convolution_direct, any(xs),
                                                        any(ws), b_like, any(ys), step, pad, pad}, engine);
        const auto plain = [&](const memory::dims& size) {
            return memory(memory::desc(size, bf16, memory::format_tag::abcd), engine, nullptr);
        };
        conv = convolution_forward(made);
        x = plain(xs); w = plain(ws); y = plain(ys);
        b = memory(b_like, engine, nullptr);
        x_own = memory(made.src_desc(), engine, nullptr);
        w_own = memory(made.weights_desc(), engine, nullptr);
        y_own = memory(made.dst_desc(), engine, nullptr);
        x_in = reorder(x, x_own); w_in = reorder(w, w_own); y_out = reorder(y_own, y);
        bytes = room(made.src_desc()) + room(made.weights_desc()) + room(made.dst_desc());
    }
};

inline void conv_bf16_layouts(const ConvBf16& c, const Bf16* x, const Bf16* w, const float* b, Bf16* y) {
    static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
    static dnnl::stream stream(engine);
    static std::map<std::array<int64_t, 7>, Plan> plans;
    static std::vector<char> shared;
    const Conv& s = c.shape;
    const std::array<int64_t, 7> key = {s.inputs, s.outputs, s.height, s.width, s.kernel, c.stride, c.padding};
    if (!plans.count(key)) plans.emplace(key, Plan(c, engine));
    Plan& p = plans.at(key);
    if (shared.size() < p.bytes + 64) shared.resize(p.bytes + 64);
    char* at = shared.data() + (64 - reinterpret_cast<uintptr_t>(shared.data()) % 64) % 64;
    const auto own = [&](dnnl::memory& memory) {
        memory.set_data_handle(at);
        at += Plan::room(memory.get_desc());
    };
    own(p.x_own); own(p.w_own); own(p.y_own);
    p.w.set_data_handle(const_cast<Bf16*>(w));
    p.b.set_data_handle(const_cast<float*>(b));
    p.w_in.execute(stream, p.w, p.w_own);
    for (int64_t image = 0; image < s.batch; ++image) {
        p.x.set_data_handle(const_cast<Bf16*>(x + image * s.inputs * s.pixels()));
        p.y.set_data_handle(y + image * s.outputs * c.out(s.height) * c.out(s.width));
        p.x_in.execute(stream, p.x, p.x_own);
        p.conv.execute(stream, {{DNNL_ARG_SRC, p.x_own}, {DNNL_ARG_WEIGHTS, p.w_own}, {DNNL_ARG_BIAS, p.b},
                                {DNNL_ARG_DST, p.y_own}});
        p.y_out.execute(stream, p.y_own, p.y);
    }
    stream.wait();
}

// x (B, Cin, H, W), w (Cout, Cin, k, k) bfloat16, b (Cout) float32 -> y (B, Cout, H', W') bfloat16.
inline void conv_bf16_cpu(const ConvBf16& c, bool product, const Bf16* x, const Bf16* w, const float* b, Bf16* y) {
    if (product) conv_bf16_product(c.shape, x, w, b, y);
    else conv_bf16_layouts(c, x, w, b, y);
}

}  // namespace iidm
