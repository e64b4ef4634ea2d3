// SPDX-License-Identifier: MIT
// Depthwise convolution (one input and one output channel per group): no reduction over channels,
// so plain loops over the taps, vectorised over the channels.
#include "backends/kokkos/conv_kernels.hpp"
#include "backends/kokkos/loops.hpp"

namespace isaribi::kokkos {
namespace {

/// [tap, channel] from [channel, tap].
template <typename T>
const T* transpose_weights(Queue& queue, const char* label, const T* w, Index taps,
                           Index channels) {
  T* out = queue.workspace.take<T>(taps * channels);
  for_rows(
      queue, label, taps, channels, KOKKOS_LAMBDA(Index tap, Index begin, Index end) {
        for (Index c = begin; c < end; ++c) out[tap * channels + c] = w[c * taps + tap];
      });
  return out;
}

}  // namespace

template <typename T>
void depthwise_forward(Queue& queue, const ConvExtents& e, const T* x, const T* w, const T* bias,
                       bool relu, T* y) {
  const Workspace::Frame frame(queue.workspace);
  const T* wt = transpose_weights(queue, "conv_forward", w, e.kh * e.kw, e.o);
  for_rows(
      queue, "conv_forward", e.n * e.p * e.q, e.o,
      KOKKOS_LAMBDA(Index row, Index begin, Index end) {
        const api::ConvGeometry& g = e.geometry;
        const Index q = row % e.q, p = row / e.q % e.p, n = row / e.q / e.p;
        T* out = y + row * e.o;
        for (Index c = begin; c < end; ++c) out[c] = bias != nullptr ? bias[c] : T(0);
        for (Index r = 0; r < e.kh; ++r) {
          const Index h = p * g.stride_h - g.pad_top + r * g.dilation_h;
          if (h < 0 || h >= e.h) continue;
          for (Index s = 0; s < e.kw; ++s) {
            const Index v = q * g.stride_w - g.pad_left + s * g.dilation_w;
            if (v < 0 || v >= e.w) continue;
            const T* in = x + ((n * e.h + h) * e.w + v) * e.i;
            const T* tap = wt + (r * e.kw + s) * e.o;
#pragma omp simd
            for (Index c = begin; c < end; ++c) out[c] += tap[c] * in[c];
          }
        }
        if (relu) {
          for (Index c = begin; c < end; ++c) out[c] = out[c] < T(0) ? T(0) : out[c];
        }
      });
}

template <typename T>
void depthwise_backward_data(Queue& queue, const ConvExtents& e, const T* dy, const T* w, T* dx) {
  const Workspace::Frame frame(queue.workspace);
  const T* wt = transpose_weights(queue, "conv_backward_data", w, e.kh * e.kw, e.o);
  for_rows(
      queue, "conv_backward_data", e.n * e.h * e.w, e.i,
      KOKKOS_LAMBDA(Index row, Index begin, Index end) {
        const api::ConvGeometry& g = e.geometry;
        const Index v = row % e.w, h = row / e.w % e.h, n = row / e.w / e.h;
        T* out = dx + row * e.i;
        for (Index c = begin; c < end; ++c) out[c] = T(0);
        for (Index r = 0; r < e.kh; ++r) {
          const Index p = h + g.pad_top - r * g.dilation_h;
          if (p < 0 || p % g.stride_h != 0 || p / g.stride_h >= e.p) continue;
          for (Index s = 0; s < e.kw; ++s) {
            const Index q = v + g.pad_left - s * g.dilation_w;
            if (q < 0 || q % g.stride_w != 0 || q / g.stride_w >= e.q) continue;
            const T* in = dy + ((n * e.p + p / g.stride_h) * e.q + q / g.stride_w) * e.o;
            const T* tap = wt + (r * e.kw + s) * e.o;
#pragma omp simd
            for (Index c = begin; c < end; ++c) out[c] += tap[c] * in[c];
          }
        }
      });
}

template <typename T, typename Sum>
void depthwise_weights(Queue& queue, const ConvExtents& e, const T* x, const T* dy, Sum* dw,
                       bool accumulate) {
  const Workspace::Frame frame(queue.workspace);
  const Index blocks = (e.n + api::kSampleBlock - 1) / api::kSampleBlock, taps = e.kh * e.kw;
  T* sums = queue.workspace.take<T>(blocks * taps * e.o);
  for_rows(
      queue, "conv_backward_weights", blocks * taps, e.o,
      KOKKOS_LAMBDA(Index row, Index begin, Index end) {
        const api::ConvGeometry& g = e.geometry;
        const Index block = row / taps, r = row % taps / e.kw, s = row % e.kw;
        const Index last = Kokkos::min((block + 1) * api::kSampleBlock, e.n);
        T* sum = sums + row * e.o;
        for (Index c = begin; c < end; ++c) sum[c] = T(0);
        for (Index n = block * api::kSampleBlock; n < last; ++n) {
          for (Index p = 0; p < e.p; ++p) {
            const Index h = p * g.stride_h - g.pad_top + r * g.dilation_h;
            if (h < 0 || h >= e.h) continue;
            for (Index q = 0; q < e.q; ++q) {
              const Index v = q * g.stride_w - g.pad_left + s * g.dilation_w;
              if (v < 0 || v >= e.w) continue;
              const T* in = x + ((n * e.h + h) * e.w + v) * e.i;
              const T* grad = dy + ((n * e.p + p) * e.q + q) * e.o;
#pragma omp simd
              for (Index c = begin; c < end; ++c) sum[c] += in[c] * grad[c];
            }
          }
        }
      });
  for_rows(
      queue, "conv_backward_weights", e.o, taps, KOKKOS_LAMBDA(Index o, Index begin, Index end) {
        for (Index tap = begin; tap < end; ++tap) {
          double value = accumulate ? static_cast<double>(dw[o * taps + tap]) : 0.0;
          for (Index block = 0; block < blocks; ++block)
            value += static_cast<double>(sums[(block * taps + tap) * e.o + o]);
          dw[o * taps + tap] = static_cast<Sum>(value);
        }
      });
}

template void depthwise_forward(Queue&, const ConvExtents&, const float*, const float*,
                                const float*, bool, float*);
template void depthwise_forward(Queue&, const ConvExtents&, const double*, const double*,
                                const double*, bool, double*);
template void depthwise_backward_data(Queue&, const ConvExtents&, const float*, const float*,
                                      float*);
template void depthwise_backward_data(Queue&, const ConvExtents&, const double*, const double*,
                                      double*);
template void depthwise_weights(Queue&, const ConvExtents&, const float*, const float*, float*,
                                bool);
template void depthwise_weights(Queue&, const ConvExtents&, const float*, const float*, double*,
                                bool);
template void depthwise_weights(Queue&, const ConvExtents&, const double*, const double*, double*,
                                bool);

}  // namespace isaribi::kokkos
