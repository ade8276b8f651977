// Stands in for cuDNN's header, and on a CPU for cuDNN: what models/kernels/cudnn_conv.cuh uses of it, by the definition.
//
// Names, types and order of arguments are those of cuDNN 8 and 9. What a descriptor was not told, or what does not fit it, is
// an error as there. Algorithm 0 does not work, 1 adds in no fixed order, 2 does and wants the larger workspace.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

enum cudnnStatus_t { CUDNN_STATUS_SUCCESS, CUDNN_STATUS_BAD_PARAM, CUDNN_STATUS_NOT_SUPPORTED };
enum cudnnDataType_t { CUDNN_DATA_FLOAT = 0, CUDNN_DATA_DOUBLE = 1, CUDNN_DATA_HALF = 2, CUDNN_DATA_BFLOAT16 = 9 };
enum cudnnTensorFormat_t { CUDNN_TENSOR_NCHW, CUDNN_TENSOR_NHWC };
enum cudnnConvolutionMode_t { CUDNN_CONVOLUTION, CUDNN_CROSS_CORRELATION };
enum cudnnMathType_t { CUDNN_DEFAULT_MATH, CUDNN_TENSOR_OP_MATH };
enum cudnnDeterminism_t { CUDNN_NON_DETERMINISTIC, CUDNN_DETERMINISTIC };
enum cudnnConvolutionFwdAlgo_t : int {
    CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM = 1, CUDNN_CONVOLUTION_FWD_ALGO_COUNT = 8
};
enum cudnnActivationMode_t { CUDNN_ACTIVATION_SIGMOID, CUDNN_ACTIVATION_RELU, CUDNN_ACTIVATION_IDENTITY = 5 };
enum cudnnNanPropagation_t { CUDNN_NOT_PROPAGATE_NAN, CUDNN_PROPAGATE_NAN };
enum cudnnConvolutionBwdDataAlgo_t : int { CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT = 6 };
enum cudnnConvolutionBwdFilterAlgo_t : int { CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT = 7 };

template <class Algo>
struct StandInPerf {
    Algo algo;
    cudnnStatus_t status;
    float time;
    size_t memory;
    cudnnDeterminism_t determinism;
    cudnnMathType_t mathType;
};
using cudnnConvolutionFwdAlgoPerf_t = StandInPerf<cudnnConvolutionFwdAlgo_t>;
using cudnnConvolutionBwdDataAlgoPerf_t = StandInPerf<cudnnConvolutionBwdDataAlgo_t>;
using cudnnConvolutionBwdFilterAlgoPerf_t = StandInPerf<cudnnConvolutionBwdFilterAlgo_t>;

struct StandInTensor {  // four sizes in the order n, c, h, w (filters: k, c, r, s), whatever lies next to what in memory
    bool set = false;
    cudnnDataType_t type;
    cudnnTensorFormat_t layout;
    int size[4];
    int at(int n, int c, int h, int w) const {
        return layout == CUDNN_TENSOR_NCHW ? ((n * size[1] + c) * size[2] + h) * size[3] + w
                                           : ((n * size[2] + h) * size[3] + w) * size[1] + c;
    }
};
struct StandInConv {
    bool set = false;
    int pad[2], stride[2];
    cudnnDataType_t sums;
    cudnnMathType_t math = CUDNN_DEFAULT_MATH;
};
struct StandInHandle {};
using cudnnHandle_t = StandInHandle*;
using cudnnTensorDescriptor_t = StandInTensor*;
using cudnnFilterDescriptor_t = StandInTensor*;
using cudnnConvolutionDescriptor_t = StandInConv*;
struct StandInActivation { bool set = false; };
using cudnnActivationDescriptor_t = StandInActivation*;

namespace stand_in {
static int searches = 0, alive = 0;          // calls of cudnnFind...Ex; descriptors that exist
static int fused = 0;                        // convolutions with bias in one call
constexpr size_t kNeeds = 1000;              // bytes of workspace that algorithm 2 wants

template <class D>
cudnnStatus_t create(D** to) { ++alive; *to = new D; return CUDNN_STATUS_SUCCESS; }
template <class D>
cudnnStatus_t destroy(D* it) { --alive; delete it; return CUDNN_STATUS_SUCCESS; }

inline cudnnStatus_t shape(StandInTensor* t, cudnnTensorFormat_t layout, cudnnDataType_t type, int n, int c, int h, int w) {
    if (n < 1 || c < 1 || h < 1 || w < 1) return CUDNN_STATUS_BAD_PARAM;
    *t = {true, type, layout, {n, c, h, w}};
    return CUDNN_STATUS_SUCCESS;
}

inline bool fits(const StandInTensor& x, const StandInTensor& w, const StandInConv& conv, const StandInTensor& y) {
    if (!x.set || !w.set || !y.set || !conv.set || x.type != w.type || x.type != y.type) return false;
    if (x.layout != w.layout || x.layout != y.layout || conv.sums != CUDNN_DATA_FLOAT) return false;
    if (x.size[0] != y.size[0] || x.size[1] != w.size[1] || y.size[1] != w.size[0]) return false;
    for (int i = 0; i < 2; ++i)
        if (y.size[2 + i] != (x.size[2 + i] + 2 * conv.pad[i] - w.size[2 + i]) / conv.stride[i] + 1) return false;
    return true;
}

template <class Perf>
cudnnStatus_t find(bool good, int asked, int* count, Perf* found, size_t bytes) {
    ++searches;
    if (!good || asked < 3) return CUDNN_STATUS_BAD_PARAM;
    const auto algo = [](int i) { return decltype(found->algo)(i); };
    found[0] = {algo(0), CUDNN_STATUS_NOT_SUPPORTED, 1, 0, CUDNN_DETERMINISTIC, CUDNN_DEFAULT_MATH};
    found[1] = {algo(1), CUDNN_STATUS_SUCCESS, 2, 0, CUDNN_NON_DETERMINISTIC, CUDNN_TENSOR_OP_MATH};
    found[2] = {algo(2), bytes < kNeeds ? CUDNN_STATUS_NOT_SUPPORTED : CUDNN_STATUS_SUCCESS, 3, kNeeds, CUDNN_DETERMINISTIC,
                CUDNN_TENSOR_OP_MATH};
    *count = 3;
    return CUDNN_STATUS_SUCCESS;
}

inline cudnnStatus_t needs(int algo, size_t* bytes) {
    *bytes = algo == 2 ? kNeeds : 0;
    return algo == 1 || algo == 2 ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_NOT_SUPPORTED;
}

inline bool runs(int algo, const void* space, size_t bytes, const void* alpha, const void* beta) {
    if (*static_cast<const float*>(alpha) != 1 || *static_cast<const float*>(beta) != 0) return false;
    if (algo == 2 && space && bytes >= kNeeds) static_cast<char*>(const_cast<void*>(space))[kNeeds - 1] = 1;  // it is there
    return algo == 1 || (algo == 2 && space && bytes >= kNeeds);
}

#if !defined(__CUDACC__)
template <class T> struct Numbers;
template <> struct Numbers<float> { static float get(float a) { return a; } static float put(float a) { return a; } };
template <> struct Numbers<__half> {
    static float get(__half a) { return __half2float(a); }
    static __half put(float a) { return __float2half_rn(a); }
};
template <> struct Numbers<__nv_bfloat16> {
    static float get(__nv_bfloat16 a) { return __bfloat162float(a); }
    static __nv_bfloat16 put(float a) { return __float2bfloat16_rn(a); }
};

// Goes through all products y[n, k, i, j] += x[n, c, ...] w[k, c, r, s]; `into`: 0 y, 1 x, 2 w gets the sum of the other two.
template <class T>
void run(int into, const StandInTensor& x, const void* x_at, const StandInTensor& w, const void* w_at, const StandInConv& conv,
         const StandInTensor& y, const void* y_at, const void* bias = nullptr, const void* more = nullptr) {
    const StandInTensor& t = into == 0 ? y : into == 1 ? x : w;
    std::vector<float> sum(size_t(t.size[0]) * t.size[1] * t.size[2] * t.size[3], 0.0f);
    const auto get = [](const void* from, int i) { return Numbers<T>::get(static_cast<const T*>(from)[i]); };
    for (int n = 0; n < y.size[0]; ++n) for (int k = 0; k < y.size[1]; ++k)
        for (int i = 0; i < y.size[2]; ++i) for (int j = 0; j < y.size[3]; ++j)
            for (int c = 0; c < w.size[1]; ++c) for (int r = 0; r < w.size[2]; ++r) for (int s = 0; s < w.size[3]; ++s) {
                const int h = i * conv.stride[0] + r - conv.pad[0], v = j * conv.stride[1] + s - conv.pad[1];
                if (h < 0 || h >= x.size[2] || v < 0 || v >= x.size[3]) continue;
                const int ix = x.at(n, c, h, v), iw = w.at(k, c, r, s), iy = y.at(n, k, i, j);
                if (into == 0) sum[iy] += get(x_at, ix) * get(w_at, iw);
                if (into == 1) sum[ix] += get(y_at, iy) * get(w_at, iw);
                if (into == 2) sum[iw] += get(x_at, ix) * get(y_at, iy);
            }
    if (bias) for (int n = 0; n < y.size[0]; ++n) for (int k = 0; k < y.size[1]; ++k)
        for (int i = 0; i < y.size[2]; ++i) for (int j = 0; j < y.size[3]; ++j)
            sum[y.at(n, k, i, j)] += get(bias, k) + (more ? get(more, y.at(n, k, i, j)) : 0.0f);
    T* to = static_cast<T*>(const_cast<void*>(into == 0 ? y_at : into == 1 ? x_at : w_at));
    for (size_t i = 0; i < sum.size(); ++i) to[i] = Numbers<T>::put(sum[i]);
}
#else
template <class T>
void run(int, const StandInTensor&, const void*, const StandInTensor&, const void*, const StandInConv&, const StandInTensor&,
         const void*, const void* = nullptr, const void* = nullptr) {}
#endif

inline cudnnStatus_t compute(int into, int algo, const void* alpha, const void* beta, void* space, size_t bytes,
                             const StandInTensor* x, const void* x_at, const StandInTensor* w, const void* w_at,
                             const StandInConv* conv, const StandInTensor* y, const void* y_at,
                             const void* bias = nullptr, const void* more = nullptr) {
    if (!fits(*x, *w, *conv, *y) || !runs(algo, space, bytes, alpha, beta)) return CUDNN_STATUS_BAD_PARAM;
    if (x->type == CUDNN_DATA_FLOAT) run<float>(into, *x, x_at, *w, w_at, *conv, *y, y_at, bias, more);
    if (x->type == CUDNN_DATA_HALF) run<__half>(into, *x, x_at, *w, w_at, *conv, *y, y_at, bias, more);
    if (x->type == CUDNN_DATA_BFLOAT16) run<__nv_bfloat16>(into, *x, x_at, *w, w_at, *conv, *y, y_at, bias, more);
    return CUDNN_STATUS_SUCCESS;
}
}  // namespace stand_in

namespace jittor { static cudnnHandle_t stand_in_handle = nullptr; }
#define cudnn_handle stand_in_handle         // Jittor's own, which its cuDNN operators bring

inline const char* cudnnGetErrorString(cudnnStatus_t s) { return s == CUDNN_STATUS_BAD_PARAM ? "bad parameter" : "not supported"; }
inline cudnnStatus_t cudnnCreateTensorDescriptor(cudnnTensorDescriptor_t* t) { return stand_in::create(t); }
inline cudnnStatus_t cudnnCreateFilterDescriptor(cudnnFilterDescriptor_t* t) { return stand_in::create(t); }
inline cudnnStatus_t cudnnCreateConvolutionDescriptor(cudnnConvolutionDescriptor_t* t) { return stand_in::create(t); }
inline cudnnStatus_t cudnnDestroyTensorDescriptor(cudnnTensorDescriptor_t t) { return stand_in::destroy(t); }
inline cudnnStatus_t cudnnDestroyFilterDescriptor(cudnnFilterDescriptor_t t) { return stand_in::destroy(t); }
inline cudnnStatus_t cudnnDestroyConvolutionDescriptor(cudnnConvolutionDescriptor_t t) { return stand_in::destroy(t); }
inline cudnnStatus_t cudnnSetTensor4dDescriptor(cudnnTensorDescriptor_t t, cudnnTensorFormat_t layout, cudnnDataType_t type, int n,
                                                int c, int h, int w) {
    return stand_in::shape(t, layout, type, n, c, h, w);
}
inline cudnnStatus_t cudnnSetFilter4dDescriptor(cudnnFilterDescriptor_t t, cudnnDataType_t type, cudnnTensorFormat_t layout, int k,
                                                int c, int h, int w) {
    return stand_in::shape(t, layout, type, k, c, h, w);
}
inline cudnnStatus_t cudnnSetConvolution2dDescriptor(cudnnConvolutionDescriptor_t c, int pad_h, int pad_w, int u, int v, int dy,
                                                     int dx, cudnnConvolutionMode_t mode, cudnnDataType_t sums) {
    if (dy != 1 || dx != 1 || mode != CUDNN_CROSS_CORRELATION) return CUDNN_STATUS_NOT_SUPPORTED;
    *c = {true, {pad_h, pad_w}, {u, v}, sums, CUDNN_DEFAULT_MATH};
    return CUDNN_STATUS_SUCCESS;
}
inline cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t c, cudnnMathType_t math) {
    c->math = math;
    return CUDNN_STATUS_SUCCESS;
}

inline cudnnStatus_t cudnnFindConvolutionForwardAlgorithmEx(
    cudnnHandle_t, const cudnnTensorDescriptor_t x, const void*, const cudnnFilterDescriptor_t w, const void*,
    const cudnnConvolutionDescriptor_t conv, const cudnnTensorDescriptor_t y, void*, const int asked, int* count,
    cudnnConvolutionFwdAlgoPerf_t* found, void*, size_t bytes) {
    return stand_in::find(stand_in::fits(*x, *w, *conv, *y), asked, count, found, bytes);
}
inline cudnnStatus_t cudnnGetConvolutionForwardWorkspaceSize(
    cudnnHandle_t, const cudnnTensorDescriptor_t, const cudnnFilterDescriptor_t, const cudnnConvolutionDescriptor_t,
    const cudnnTensorDescriptor_t, cudnnConvolutionFwdAlgo_t algo, size_t* bytes) {
    return stand_in::needs(algo, bytes);
}
inline cudnnStatus_t cudnnConvolutionForward(
    cudnnHandle_t, const void* alpha, const cudnnTensorDescriptor_t x, const void* x_at, const cudnnFilterDescriptor_t w,
    const void* w_at, const cudnnConvolutionDescriptor_t conv, cudnnConvolutionFwdAlgo_t algo, void* space, size_t bytes,
    const void* beta, const cudnnTensorDescriptor_t y, void* y_at) {
    return stand_in::compute(0, algo, alpha, beta, space, bytes, x, x_at, w, w_at, conv, y, y_at);
}

inline cudnnStatus_t cudnnCreateActivationDescriptor(cudnnActivationDescriptor_t* a) { return stand_in::create(a); }
inline cudnnStatus_t cudnnSetActivationDescriptor(cudnnActivationDescriptor_t a, cudnnActivationMode_t mode, cudnnNanPropagation_t,
                                                  double) {
    a->set = mode == CUDNN_ACTIVATION_IDENTITY;
    return CUDNN_STATUS_SUCCESS;
}
// As cuDNN: an identity after it is had with one algorithm only. Kernels of one output channel it does not have.
inline cudnnStatus_t cudnnConvolutionBiasActivationForward(
    cudnnHandle_t, const void* alpha, const cudnnTensorDescriptor_t x, const void* x_at, const cudnnFilterDescriptor_t w,
    const void* w_at, const cudnnConvolutionDescriptor_t conv, cudnnConvolutionFwdAlgo_t algo, void* space, size_t bytes,
    const void* alpha2, const cudnnTensorDescriptor_t z, const void* z_at, const cudnnTensorDescriptor_t bias, const void* bias_at,
    const cudnnActivationDescriptor_t act, const cudnnTensorDescriptor_t y, void* y_at) {
    if (algo != CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM || !act->set || y->size[1] == 1) return CUDNN_STATUS_NOT_SUPPORTED;
    if (!bias->set || bias->type != y->type || bias->size[1] != y->size[1] || bias->size[2] * bias->size[3] != 1 || z != y)
        return CUDNN_STATUS_BAD_PARAM;
    ++stand_in::fused;
    const float zero = 0;
    return stand_in::compute(0, algo, alpha, &zero, space, bytes, x, x_at, w, w_at, conv, y, y_at, bias_at,
                             *static_cast<const float*>(alpha2) == 1 ? z_at : nullptr);
}

inline cudnnStatus_t cudnnFindConvolutionBackwardDataAlgorithmEx(
    cudnnHandle_t, const cudnnFilterDescriptor_t w, const void*, const cudnnTensorDescriptor_t y, const void*,
    const cudnnConvolutionDescriptor_t conv, const cudnnTensorDescriptor_t x, void*, const int asked, int* count,
    cudnnConvolutionBwdDataAlgoPerf_t* found, void*, size_t bytes) {
    return stand_in::find(stand_in::fits(*x, *w, *conv, *y), asked, count, found, bytes);
}
inline cudnnStatus_t cudnnGetConvolutionBackwardDataWorkspaceSize(
    cudnnHandle_t, const cudnnFilterDescriptor_t, const cudnnTensorDescriptor_t, const cudnnConvolutionDescriptor_t,
    const cudnnTensorDescriptor_t, cudnnConvolutionBwdDataAlgo_t algo, size_t* bytes) {
    return stand_in::needs(algo, bytes);
}
inline cudnnStatus_t cudnnConvolutionBackwardData(
    cudnnHandle_t, const void* alpha, const cudnnFilterDescriptor_t w, const void* w_at, const cudnnTensorDescriptor_t y,
    const void* y_at, const cudnnConvolutionDescriptor_t conv, cudnnConvolutionBwdDataAlgo_t algo, void* space, size_t bytes,
    const void* beta, const cudnnTensorDescriptor_t x, void* x_at) {
    return stand_in::compute(1, algo, alpha, beta, space, bytes, x, x_at, w, w_at, conv, y, y_at);
}

inline cudnnStatus_t cudnnFindConvolutionBackwardFilterAlgorithmEx(
    cudnnHandle_t, const cudnnTensorDescriptor_t x, const void*, const cudnnTensorDescriptor_t y, const void*,
    const cudnnConvolutionDescriptor_t conv, const cudnnFilterDescriptor_t w, void*, const int asked, int* count,
    cudnnConvolutionBwdFilterAlgoPerf_t* found, void*, size_t bytes) {
    return stand_in::find(stand_in::fits(*x, *w, *conv, *y), asked, count, found, bytes);
}
inline cudnnStatus_t cudnnGetConvolutionBackwardFilterWorkspaceSize(
    cudnnHandle_t, const cudnnTensorDescriptor_t, const cudnnTensorDescriptor_t, const cudnnConvolutionDescriptor_t,
    const cudnnFilterDescriptor_t, cudnnConvolutionBwdFilterAlgo_t algo, size_t* bytes) {
    return stand_in::needs(algo, bytes);
}
inline cudnnStatus_t cudnnConvolutionBackwardFilter(
    cudnnHandle_t, const void* alpha, const cudnnTensorDescriptor_t x, const void* x_at, const cudnnTensorDescriptor_t y,
    const void* y_at, const cudnnConvolutionDescriptor_t conv, cudnnConvolutionBwdFilterAlgo_t algo, void* space, size_t bytes,
    const void* beta, const cudnnFilterDescriptor_t w, void* w_at) {
    return stand_in::compute(2, algo, alpha, beta, space, bytes, x, x_at, w, w_at, conv, y, y_at);
}
