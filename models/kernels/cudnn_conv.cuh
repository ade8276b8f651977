// Convolution by cuDNN: numbers of 32 or 16 bits, sums in float32, channels first or last.
//
// What a call needs (descriptors, the fastest algorithm as found by trying all, the size of its workspace) is made once for a
// shape, number type, layout and direction, and kept. Algorithms that add in a fixed order go before others, so that these
// convolutions repeat themselves; those of float32 are Jittor's own call of cuDNN, which takes the fastest, whatever its order.
// Bias and a residual are added in the same call: by a kernel after the fastest algorithm, or by cuDNN itself as its
// one algorithm that can (cudnnConvolutionBiasActivationForward), which saves a pass over y; benchmarks/conv_layouts.py
// says which is faster. Compiled against cuDNN 9 and played on tests/stand_in/cudnn.h,
// not yet run on a GPU.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cudnn.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>

#ifndef IIDM_DEVICE          // Jittor finds no include of an include: cudnn_conv.py names both
#include <device.cuh>
#endif

#ifdef IIDM_GPU
namespace iidm {

// x (B, Cin, H, W), w (Cout, Cin, k, k), y (B, Cout, H', W'); with `last` x (B, H, W, Cin), w (Cout, k, k, Cin), y likewise.
struct CudnnConv {
    int64_t batch, inputs, outputs, height, width, kernel, stride, padding;
    bool last;
    int out(int64_t n) const { return int((n + 2 * padding - kernel) / stride + 1); }
    std::array<int64_t, 9> key() const {
        return {batch, inputs, outputs, height, width, kernel, stride, padding, int64_t(last)};
    }
};

inline void check(cudnnStatus_t status) {
    if (status != CUDNN_STATUS_SUCCESS) throw std::runtime_error(std::string("cuDNN: ") + cudnnGetErrorString(status));
}

inline cudnnDataType_t number(const float*) { return CUDNN_DATA_FLOAT; }
inline cudnnDataType_t number(const __half*) { return CUDNN_DATA_HALF; }
inline cudnnDataType_t number(const __nv_bfloat16*) { return CUDNN_DATA_BFLOAT16; }

// The descriptors of one shape, and what was found out about it.
struct CudnnPlan {
    cudnnTensorDescriptor_t x, y;
    cudnnFilterDescriptor_t w;
    cudnnConvolutionDescriptor_t conv;
    int algorithm = 0;
    size_t workspace = 0;

    CudnnPlan(const CudnnConv& c, cudnnDataType_t type) {
        const cudnnTensorFormat_t layout = c.last ? CUDNN_TENSOR_NHWC : CUDNN_TENSOR_NCHW;
        const int k = int(c.kernel), pad = int(c.padding), stride = int(c.stride);
        check(cudnnCreateTensorDescriptor(&x));
        check(cudnnCreateTensorDescriptor(&y));
        check(cudnnCreateFilterDescriptor(&w));
        check(cudnnCreateConvolutionDescriptor(&conv));
        check(cudnnSetTensor4dDescriptor(x, layout, type, int(c.batch), int(c.inputs), int(c.height), int(c.width)));
        check(cudnnSetTensor4dDescriptor(y, layout, type, int(c.batch), int(c.outputs), c.out(c.height), c.out(c.width)));
        check(cudnnSetFilter4dDescriptor(w, type, layout, int(c.outputs), int(c.inputs), k, k));
        check(cudnnSetConvolution2dDescriptor(conv, pad, pad, stride, stride, 1, 1, CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT));
        check(cudnnSetConvolutionMathType(conv, type == CUDNN_DATA_FLOAT ? CUDNN_DEFAULT_MATH : CUDNN_TENSOR_OP_MATH));
    }
    ~CudnnPlan() {
        cudnnDestroyConvolutionDescriptor(conv);
        cudnnDestroyFilterDescriptor(w);
        cudnnDestroyTensorDescriptor(y);
        cudnnDestroyTensorDescriptor(x);
    }
    CudnnPlan(const CudnnPlan&) = delete;

    // Takes the first, that is the fastest, of `count` algorithms that worked; of those that repeat themselves if any does.
    template <class Perf>
    void choose(const Perf* found, int count) {
        const Perf* best = nullptr;
        for (int i = 0; i < count; ++i) {
            if (found[i].status != CUDNN_STATUS_SUCCESS) continue;
            if (!best) best = found + i;
            if (found[i].determinism == CUDNN_DETERMINISTIC) { best = found + i; break; }
        }
        if (!best) throw std::runtime_error("cuDNN: no algorithm for this convolution");
        algorithm = int(best->algo);
        check(cudnnSetConvolutionMathType(conv, best->mathType));
    }
};

constexpr size_t kWorkspace = size_t(512) << 20;  // bytes that an algorithm may ask for while all are tried

using CudnnPlans = std::map<std::array<int64_t, 9>, std::unique_ptr<CudnnPlan>>;  // of a type and direction

// The plan of a call: made by find(plan) the first time.
template <class Find>
inline CudnnPlan& plan_of(CudnnPlans& plans, const CudnnConv& c, cudnnDataType_t type, Find find) {
    std::unique_ptr<CudnnPlan>& plan = plans[c.key()];
    if (!plan) {
        std::unique_ptr<CudnnPlan> made(new CudnnPlan(c, type));
        find(*made);
        plan = std::move(made);
    }
    return *plan;
}

// y = x * w. Scratch(bytes).at is memory of the GPU until it goes out of scope.
template <class Scratch, class T>
inline void cudnn_conv(cudnnHandle_t handle, const CudnnConv& c, const T* x, const T* w, T* y) {
    static CudnnPlans plans;
    CudnnPlan& p = plan_of(plans, c, number(x), [&](CudnnPlan& p) {
        cudnnConvolutionFwdAlgoPerf_t found[CUDNN_CONVOLUTION_FWD_ALGO_COUNT];
        int count = 0;
        Scratch scratch(kWorkspace);
        check(cudnnFindConvolutionForwardAlgorithmEx(handle, p.x, x, p.w, w, p.conv, p.y, y, CUDNN_CONVOLUTION_FWD_ALGO_COUNT,
                                                     &count, found, scratch.at, kWorkspace));
        p.choose(found, count);
        check(cudnnGetConvolutionForwardWorkspaceSize(handle, p.x, p.w, p.conv, p.y,
                                                      cudnnConvolutionFwdAlgo_t(p.algorithm), &p.workspace));
    });
    const float one = 1, zero = 0;
    Scratch scratch(p.workspace);
    check(cudnnConvolutionForward(handle, &one, p.x, x, p.w, w, p.conv, cudnnConvolutionFwdAlgo_t(p.algorithm), scratch.at,
                                  p.workspace, &zero, p.y, y));
}

// y += bias + residual, V neighbours a thread. pixels: neighbours that share a channel, 1 where channels are last.
template <class T, int V>
__global__ void __launch_bounds__(256) add_bias(T* y, const T* bias, const T* residual, int packs, int channels, int pixels) {
    const int pack = blockIdx.x * 256 + threadIdx.x;
    if (pack >= packs) return;
    const int64_t i = int64_t(pack) * V;
    float sum[V], more[V];
    load(y + i, sum);
    if (pixels > 1) {
        const float b = to_float(bias[i / pixels % channels]);
#pragma unroll
        for (int v = 0; v < V; ++v) sum[v] += b;
    } else {
        load(bias + i % channels, more);
#pragma unroll
        for (int v = 0; v < V; ++v) sum[v] += more[v];
    }
    if (residual) {
        load(residual + i, more);
#pragma unroll
        for (int v = 0; v < V; ++v) sum[v] += more[v];
    }
    store(sum, y + i);
}

template <class T, int V>
inline void add_bias_launch(T* y, const T* bias, const T* residual, int64_t n, int channels, int pixels) {
    const int64_t packs = n / V;
    if (packs > INT32_MAX) throw std::runtime_error("cudnn_conv: more than 2^31 values");
    launch(add_bias<T, V>, ceil_div(packs, 256), 256, y, bias, residual, int(packs), channels, pixels);
}

// y = x * w + bias + residual, residual null where there is none.
template <class Scratch, class T>
inline void cudnn_conv_bias(cudnnHandle_t handle, const CudnnConv& c, const T* x, const T* w, const T* bias, const T* residual,
                            T* y) {
    cudnn_conv<Scratch>(handle, c, x, w, y);
    const int64_t pixels = int64_t(c.out(c.height)) * c.out(c.width), n = c.batch * c.outputs * pixels;
    // What neighbours have in common: a channel, or nothing, with the channels' biases side by side.
    const int64_t row = c.last ? c.outputs : pixels;
    const int of_channel = c.last ? 1 : int(pixels);
    if (of_channel == 1 && !c.last) {  // one pixel, channels first: the same order as channels last
        add_bias_launch<T, 1>(y, bias, residual, n, int(c.outputs), 1);
    } else if (row % wide<T>() == 0 && aligned(y, bias, residual)) {
        add_bias_launch<T, wide<T>()>(y, bias, residual, n, int(c.outputs), of_channel);
    } else {
        add_bias_launch<T, 1>(y, bias, residual, n, int(c.outputs), of_channel);
    }
}

// The same by cuDNN alone: false where it has no such convolution, and y is then not written.
template <class Scratch, class T>
inline bool cudnn_conv_fused(cudnnHandle_t handle, const CudnnConv& c, const T* x, const T* w, const T* bias, const T* residual,
                             T* y) {
    struct Fused {
        cudnnTensorDescriptor_t bias;
        cudnnActivationDescriptor_t act;
        bool works = true;
    };
    static CudnnPlans plans;
    static std::map<std::array<int64_t, 9>, Fused> more;
    const auto algorithm = CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM;  // the one with an identity after it
    CudnnPlan& p = plan_of(plans, c, number(x), [&](CudnnPlan& p) {
        Fused made;
        check(cudnnCreateTensorDescriptor(&made.bias));
        check(cudnnSetTensor4dDescriptor(made.bias, c.last ? CUDNN_TENSOR_NHWC : CUDNN_TENSOR_NCHW, number(x), 1,
                                         int(c.outputs), 1, 1));
        check(cudnnCreateActivationDescriptor(&made.act));
        check(cudnnSetActivationDescriptor(made.act, CUDNN_ACTIVATION_IDENTITY, CUDNN_NOT_PROPAGATE_NAN, 0));
        made.works = cudnnGetConvolutionForwardWorkspaceSize(handle, p.x, p.w, p.conv, p.y, algorithm, &p.workspace) ==
                     CUDNN_STATUS_SUCCESS;
        more[c.key()] = made;
    });
    Fused& f = more.at(c.key());
    if (!f.works) return false;
    const float one = 1, with_residual = residual ? 1.0f : 0.0f;
    Scratch scratch(p.workspace);
    f.works = cudnnConvolutionBiasActivationForward(handle, &one, p.x, x, p.w, w, p.conv, algorithm, scratch.at, p.workspace,
                                                    &with_residual, p.y, residual ? residual : y, f.bias, bias, f.act, p.y,
                                                    y) == CUDNN_STATUS_SUCCESS;
    return f.works;
}

// By cuDNN alone where it can, else by cudnn_conv_bias.
template <class Scratch, class T>
inline void cudnn_conv_epilogue(cudnnHandle_t handle, const CudnnConv& c, const T* x, const T* w, const T* bias,
                                const T* residual, T* y) {
    if (!cudnn_conv_fused<Scratch>(handle, c, x, w, bias, residual, y))
        cudnn_conv_bias<Scratch>(handle, c, x, w, bias, residual, y);
}

// dx of dy.
template <class Scratch, class T>
inline void cudnn_conv_dx(cudnnHandle_t handle, const CudnnConv& c, const T* w, const T* dy, T* dx) {
    static CudnnPlans plans;
    CudnnPlan& p = plan_of(plans, c, number(w), [&](CudnnPlan& p) {
        cudnnConvolutionBwdDataAlgoPerf_t found[CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT];
        int count = 0;
        Scratch scratch(kWorkspace);
        check(cudnnFindConvolutionBackwardDataAlgorithmEx(handle, p.w, w, p.y, dy, p.conv, p.x, dx,
                                                          CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT, &count, found, scratch.at,
                                                          kWorkspace));
        p.choose(found, count);
        check(cudnnGetConvolutionBackwardDataWorkspaceSize(handle, p.w, p.y, p.conv, p.x,
                                                           cudnnConvolutionBwdDataAlgo_t(p.algorithm), &p.workspace));
    });
    const float one = 1, zero = 0;
    Scratch scratch(p.workspace);
    check(cudnnConvolutionBackwardData(handle, &one, p.w, w, p.y, dy, p.conv, cudnnConvolutionBwdDataAlgo_t(p.algorithm),
                                       scratch.at, p.workspace, &zero, p.x, dx));
}

// dw of dy.
template <class Scratch, class T>
inline void cudnn_conv_dw(cudnnHandle_t handle, const CudnnConv& c, const T* x, const T* dy, T* dw) {
    static CudnnPlans plans;
    CudnnPlan& p = plan_of(plans, c, number(x), [&](CudnnPlan& p) {
        cudnnConvolutionBwdFilterAlgoPerf_t found[CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT];
        int count = 0;
        Scratch scratch(kWorkspace);
        check(cudnnFindConvolutionBackwardFilterAlgorithmEx(handle, p.x, x, p.y, dy, p.conv, p.w, dw,
                                                            CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT, &count, found, scratch.at,
                                                            kWorkspace));
        p.choose(found, count);
        check(cudnnGetConvolutionBackwardFilterWorkspaceSize(handle, p.x, p.y, p.conv, p.w,
                                                             cudnnConvolutionBwdFilterAlgo_t(p.algorithm), &p.workspace));
    });
    const float one = 1, zero = 0;
    Scratch scratch(p.workspace);
    check(cudnnConvolutionBackwardFilter(handle, &one, p.x, x, p.y, dy, p.conv, cudnnConvolutionBwdFilterAlgo_t(p.algorithm),
                                         scratch.at, p.workspace, &zero, p.w, dw));
}

}  // namespace iidm
#endif
