// Convolution on a CPU by oneDNN, with bias and, in the same pass, a residual and ReLU: of bfloat16 numbers where the CPU
// multiplies them (AVX512_BF16, AMX), with sums and gradients of weights in float32; of float32 numbers forwards, channels last.
//
// One image after the other, so that the same sums are taken in the same order whatever the batch; only the weights' gradient
// sums over a batch. bfloat16, few pixels or a 1x1 kernel: a matrix product, as in conv.cuh. Else oneDNN's convolution in the
// layouts that it asks for. Where these are channels last, images are turned by our own turn.cuh: oneDNN's reordering of 16-bit
// numbers takes longer than the convolution itself. All calls share the memory of such copies. Weights that no longer change
// are laid out once (conv_pack).
#pragma once
#ifndef IIDM_CONV            // Jittor finds no include of an include: conv.py names all, and oneDNN's header before them
#include <conv.cuh>
#include <device.cuh>
#include <dnnl.hpp>
#include <turn.cuh>
#endif
#include <algorithm>
#include <array>
#include <emmintrin.h>
#include <map>
#include <stdexcept>
#include <utility>

// In the library, if not in its headers: bfloat16 products as dnnl_sgemm's, summed in float32.
extern "C" int dnnl_gemm_bf16bf16f32(char transa, char transb, int64_t m, int64_t n, int64_t k, float alpha,
                                     const iidm::Bf16* a, int64_t lda, const iidm::Bf16* b, int64_t ldb, float beta, float* c, int64_t ldc);

namespace iidm {

struct Geometry {
    int64_t batch, inputs, outputs, height, width;             // height and width of x
    int64_t rows, columns, stride, above, left;                // of the kernel; zeros above and below, left and right
    int64_t last, relu;                                        // whether images are (B, H, W, C), and are followed by ReLU
    int64_t out_height() const { return (height + 2 * above - rows) / stride + 1; }
    int64_t out_width() const { return (width + 2 * left - columns) / stride + 1; }
    int64_t numbers_in() const { return inputs * height * width; }
    int64_t numbers_out() const { return outputs * out_height() * out_width(); }
    Conv square() const { return {batch, inputs, outputs, height, width, rows}; }
    std::array<int64_t, 13> key(int64_t images, bool adds) const {
        return {images, adds, inputs, outputs, height, width, rows, columns, stride, above, left, last, relu};
    }
};

// residual: (B, Cout, N) or null, added before the one rounding.
inline void conv_bf16_product(const Conv& c, const Bf16* x, const Bf16* w, const float* b, const Bf16* residual, Bf16* y) {
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
        const int64_t start = image * c.outputs * n;
#pragma omp parallel for schedule(static)
        for (int64_t o = 0; o < c.outputs; ++o)
            for (int64_t i = o * n; i < (o + 1) * n; ++i)
                y[start + i] = nearest_bf16(sums[i] + b[o] + (residual ? wide_of(residual[start + i]) : 0.0f));
    }
}

constexpr int64_t kLane = 8, kStrip = 32;         // numbers of a register, and of a cache line

// 8 x 8 numbers turned: rows of x lie xs apart, those of y ys.
inline void turn_8x8(const Bf16* x, int64_t xs, Bf16* y, int64_t ys) {
    __m128i a[8], b[8];
    for (int i = 0; i < 8; ++i) a[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x + i * xs));
    for (int i = 0; i < 4; ++i) { b[2 * i] = _mm_unpacklo_epi16(a[i], a[i + 4]); b[2 * i + 1] = _mm_unpackhi_epi16(a[i], a[i + 4]); }
    for (int i = 0; i < 4; ++i) { a[2 * i] = _mm_unpacklo_epi16(b[i], b[i + 4]); a[2 * i + 1] = _mm_unpackhi_epi16(b[i], b[i + 4]); }
    for (int i = 0; i < 4; ++i) { b[2 * i] = _mm_unpacklo_epi16(a[i], a[i + 4]); b[2 * i + 1] = _mm_unpackhi_epi16(a[i], a[i + 4]); }
    for (int i = 0; i < 8; ++i) _mm_storeu_si128(reinterpret_cast<__m128i*>(y + i * ys), b[i]);
}

// Strips of 32 pixels, 8 channels at a time: planes of a power of two of bytes would else push each other out of the cache.
template <class Work>
inline void for_each_strip(const Turn& t, Work work) {      // t.rows: channels, t.columns: pixels
    const int64_t strips = t.columns / kStrip;
#pragma omp parallel for schedule(static)
    for (int64_t job = 0; job < t.batch * strips; ++job)
        for (int64_t c = 0; c < t.rows; c += kLane) work(job / strips * t.rows * t.columns, c, job % strips * kStrip);
}

inline bool in_strips(const Turn& t) { return t.rows % kLane == 0 && t.columns % kStrip == 0; }

// x (B, C, N) -> y (B, N, C).
inline void turn_to_last(const Turn& t, const Bf16* x, Bf16* y) {
    if (!in_strips(t)) return turn_cpu(t, x, y);
    for_each_strip(t, [=](int64_t at, int64_t c, int64_t n) {
        for (int64_t i = n; i < n + kStrip; i += kLane)
            turn_8x8(x + at + c * t.columns + i, t.columns, y + at + i * t.rows + c, t.rows);
    });
}

// x (B, N, C) -> y (B, C, N).
inline void turn_to_first(const Turn& t, const Bf16* x, Bf16* y) {
    if (!in_strips(t)) return turn_cpu({t.batch, t.columns, t.rows}, x, y);
    for_each_strip(t, [=](int64_t at, int64_t c, int64_t n) {
        for (int64_t i = n; i < n + kStrip; i += kLane)
            turn_8x8(x + at + i * t.rows + c, t.rows, y + at + c * t.columns + i, t.columns);
    });
}

using Memory = dnnl::memory;

inline dnnl::engine& engine() {
    static dnnl::engine one(dnnl::engine::kind::cpu, 0);
    return one;
}

inline dnnl::stream& stream() {
    static dnnl::stream one(engine());
    return one;
}

template <class T> constexpr Memory::data_type kType = sizeof(T) == 2 ? Memory::data_type::bf16 : Memory::data_type::f32;

// One array of a convolution: as it is given, dense (B, C, H, W) or, last, (B, H, W, C), and as the convolution wants it.
struct Side {
    Memory given, own;
    dnnl::reorder in, out;
    Turn turn;                                    // of one that wants channels last
    bool same, turned;

    Side() = default;
    Side(const Memory::dims& size, const Memory::desc& wanted, bool last = false) {
        const auto type = wanted.data_type();
        const Memory::desc channels_last(size, type, Memory::format_tag::acdb);
        const Memory::desc dense = last ? channels_last : Memory::desc(size, type, Memory::format_tag::abcd);
        given = Memory(dense, engine(), nullptr);
        own = Memory(wanted, engine(), nullptr);
        same = dense == wanted;
        turned = !same && type == Memory::data_type::bf16 && wanted == channels_last;
        turn = {size[0], size[1], size[2] * size[3]};
        if (!same && !turned) { in = dnnl::reorder(given, own); out = dnnl::reorder(own, given); }
    }

    size_t room() const { return same ? 0 : (own.get_desc().get_size() + 63) / 64 * 64; }

    void place(char*& at) {
        if (!same) own.set_data_handle(at);
        at += room();
    }

    template <class T> void read(const T* array) {
        T* p = const_cast<T*>(array);
        if (same) own.set_data_handle(p);
        else if (turned) turn_to_last(turn, reinterpret_cast<const Bf16*>(array), static_cast<Bf16*>(own.get_data_handle()));
        else { given.set_data_handle(p); in.execute(stream(), given, own); }
    }

    // Before the convolution that writes it, and after.
    template <class T> void aim(T* array) { if (same) own.set_data_handle(array); }
    template <class T> void write(T* array) {
        if (same) return;
        if (turned) return turn_to_first(turn, static_cast<const Bf16*>(own.get_data_handle()), reinterpret_cast<Bf16*>(array));
        given.set_data_handle(array);
        out.execute(stream(), own, given);
    }
};

// What oneDNN is told of one shape; images: how many at a time.
template <class T>
struct Shape {
    Memory::dims x, w, y, b, step, pad;
    bool last, relu;
    Shape(const Geometry& c, int64_t images)
        : x{images, c.inputs, c.height, c.width}, w{c.outputs, c.inputs, c.rows, c.columns},
          y{images, c.outputs, c.out_height(), c.out_width()}, b{c.outputs}, step{c.stride, c.stride}, pad{c.above, c.left},
          last(c.last), relu(c.relu) {}
    static Memory::desc any(const Memory::dims& size, Memory::data_type type = kType<T>) {
        return Memory::desc(size, type, Memory::format_tag::any);
    }
    Memory::desc image(const Memory::dims& size) const {       // channels that are last stay last: nothing is turned
        return last ? Memory::desc(size, kType<T>, Memory::format_tag::acdb) : any(size);
    }
    Memory::desc bias() const { return Memory::desc(b, Memory::data_type::f32, Memory::format_tag::x); }
    // adds: to what y holds before, in float32.
    dnnl::convolution_forward::primitive_desc forward(bool adds = false) const {
        dnnl::post_ops after;
        if (adds) after.append_sum(1.0f);
        if (relu) after.append_eltwise(1.0f, dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
        dnnl::primitive_attr attr;
        attr.set_post_ops(after);
        return {{dnnl::prop_kind::forward_training, dnnl::algorithm::convolution_direct, image(x), any(w), bias(), image(y), step, pad,
                 pad}, attr, engine()};
    }
};

// A convolution primitive with its three arrays, of which the last is written.
template <class Primitive>
struct Plan {
    Primitive run;
    Side x, w, y;
    Memory b;
    size_t bytes() const { return x.room() + w.room() + y.room() + 64; }
    void place() {
        static std::vector<char> shared;
        if (shared.size() < bytes()) shared.resize(bytes());
        char* at = shared.data() + (64 - reinterpret_cast<uintptr_t>(shared.data()) % 64) % 64;
        x.place(at); w.place(at); y.place(at);
    }
    template <class T, class Make>
    static Plan& of(const Geometry& c, int64_t images, Make make, bool adds = false) {
        static std::map<std::array<int64_t, 13>, Plan> plans;
        const auto key = c.key(images, adds);
        auto found = plans.find(key);
        return found != plans.end() ? found->second : plans.emplace(key, make(Shape<T>(c, images))).first->second;
    }
};

using Forward = Plan<dnnl::convolution_forward>;

template <class T>
inline Forward& forward_of(const Geometry& c, bool adds) {
    return Forward::of<T>(c, 1, [=](const Shape<T>& s) {
        const auto made = s.forward(adds);
        return Forward{dnnl::convolution_forward(made), {s.x, made.src_desc(), s.last}, {s.w, made.weights_desc()},
                       {s.y, made.dst_desc(), s.last}, Memory(s.bias(), engine(), nullptr)};
    }, adds);
}

// Weights (Cout, Cin, k, k) as the convolution of this shape wants them, into room for so many numbers.
template <class T>
inline void conv_pack(const Geometry& c, const T* w, T* packed, int64_t room) {
    Side& side = forward_of<T>(c, false).w;
    const int64_t bytes = side.own.get_desc().get_size();
    if (bytes > room * int64_t(sizeof(T))) throw std::runtime_error("conv_pack: oneDNN wants more room for weights than expected");
    side.own.set_data_handle(packed);
    if (side.same) std::memcpy(packed, w, bytes);
    else side.read(w);
    stream().wait();
}

// packed: the geometry that w was laid out for by conv_pack, null for w as it is, (Cout, Cin, k, k).
template <class T>
inline void conv_layouts(const Geometry& c, const Geometry* packed, const T* x, const T* w, const float* b, const T* residual, T* y) {
    Forward& p = forward_of<T>(c, residual);
    p.place();
    if (!packed) p.w.read(w);
    else {
        Memory laid(forward_of<T>(*packed, false).w.own.get_desc(), engine(), const_cast<T*>(w));
        if (laid.get_desc() == p.w.own.get_desc()) p.w.own.set_data_handle(const_cast<T*>(w));
        else dnnl::reorder(laid, p.w.own).execute(stream(), laid, p.w.own);                // another size of image
    }
    p.b.set_data_handle(const_cast<float*>(b));
    const int64_t in = c.numbers_in(), out = c.numbers_out();
    for (int64_t image = 0; image < c.batch; ++image) {
        p.x.read(x + image * in);
        if (residual && p.y.same) std::copy_n(residual + image * out, out, y + image * out);
        else if (residual) p.y.read(residual + image * out);
        p.y.aim(y + image * out);
        p.run.execute(stream(), {{DNNL_ARG_SRC, p.x.own}, {DNNL_ARG_WEIGHTS, p.w.own}, {DNNL_ARG_BIAS, p.b}, {DNNL_ARG_DST, p.y.own}});
        p.y.write(y + image * out);
    }
    stream().wait();
}

// x (B, Cin, H, W), w (Cout, Cin, kh, kw), b (Cout) float32, residual like y or null -> y (B, Cout, H', W'). laid: the geometry
// that w was laid out for, without a height where it was not.
inline void conv_forward(const Geometry& c, const Geometry& laid, bool product, const Bf16* x, const Bf16* w, const float* b,
                         const Bf16* residual, Bf16* y) {
    if (product) conv_bf16_product(c.square(), x, w, b, residual, y);
    else conv_layouts(c, laid.height ? &laid : nullptr, x, w, b, residual, y);
}

inline void conv_forward(const Geometry& c, const Geometry& laid, bool, const float* x, const float* w, const float* b,
                         const float* residual, float* y) {
    conv_layouts(c, laid.height ? &laid : nullptr, x, w, b, residual, y);
}

// dy (B, Cout, H', W') -> dx like x.
template <class T>
inline void conv_dx(const Geometry& c, const T* w, const T* dy, T* dx) {
    using Backward = dnnl::convolution_backward_data;
    auto& p = Plan<Backward>::of<T>(c, 1, [](const Shape<T>& s) {
        const Backward::primitive_desc made({dnnl::algorithm::convolution_direct, s.any(s.x), s.any(s.w), s.any(s.y), s.step, s.pad, s.pad},
                                            engine(), s.forward());
        return Plan<Backward>{Backward(made), {s.y, made.diff_dst_desc()}, {s.w, made.weights_desc()}, {s.x, made.diff_src_desc()}, {}};
    });
    p.place();
    p.w.read(w);
    const int64_t in = c.numbers_in(), out = c.numbers_out();
    for (int64_t image = 0; image < c.batch; ++image) {
        p.x.read(dy + image * out);
        p.y.aim(dx + image * in);
        p.run.execute(stream(), {{DNNL_ARG_DIFF_DST, p.x.own}, {DNNL_ARG_WEIGHTS, p.w.own}, {DNNL_ARG_DIFF_SRC, p.y.own}});
        p.y.write(dx + image * in);
    }
    stream().wait();
}

// x, dy -> dw (Cout, Cin, k, k), db (Cout), float32, summed over the batch.
template <class T>
inline void conv_dw(const Geometry& c, const T* x, const T* dy, float* dw, float* db) {
    using Backward = dnnl::convolution_backward_weights;
    auto& p = Plan<Backward>::of<T>(c, c.batch, [](const Shape<T>& s) {
        const Backward::primitive_desc made({dnnl::algorithm::convolution_direct, s.any(s.x), s.any(s.w, Memory::data_type::f32), s.bias(),
                                             s.any(s.y), s.step, s.pad, s.pad}, engine(), s.forward());
        return Plan<Backward>{Backward(made), {s.x, made.src_desc()}, {s.y, made.diff_dst_desc()}, {s.w, made.diff_weights_desc()},
                              Memory(s.bias(), engine(), nullptr)};
    });
    p.place();
    p.x.read(x);
    p.w.read(dy);
    p.y.aim(dw);
    p.b.set_data_handle(db);
    p.run.execute(stream(), {{DNNL_ARG_SRC, p.x.own}, {DNNL_ARG_DIFF_DST, p.w.own}, {DNNL_ARG_DIFF_WEIGHTS, p.y.own}, {DNNL_ARG_DIFF_BIAS, p.b}});
    p.y.write(dw);
    stream().wait();
}

}  // namespace iidm
