// SPDX-License-Identifier: MIT
// Convolution: states each pass as a gather, a weights or a depthwise problem.
#include <numeric>

#include "backends/kokkos/conv_kernels.hpp"
#include "backends/kokkos/gather.hpp"
#include "backends/kokkos/loops.hpp"
#include "backends/kokkos/ops.hpp"

namespace isaribi::kokkos {
namespace {

GatherAxis forward_axis(Index in, Index out, Index taps, Index stride, Index pad, Index dilation) {
  GatherAxis axis;
  axis.source = in;
  axis.extent = axis.count = out;
  axis.step = stride;
  axis.taps = taps;
  axis.offset = -pad;
  axis.offset_step = dilation;
  return axis;
}

/// Input pixels x = residue + t stride receive tap r from output (x + pad - r dilation) / stride
/// where that is whole. Such r are equally spaced; they are taken downwards, so that the source
/// offset grows with the tap number.
GatherAxis backward_axis(Index in, Index out, Index taps, Index stride, Index pad, Index dilation,
                         Index residue) {
  GatherAxis axis;
  axis.source = out;
  axis.extent = in;
  axis.count = residue < in ? (in - residue + stride - 1) / stride : 0;
  axis.out = residue;
  axis.out_step = stride;
  const Index spacing = stride / std::gcd(stride, dilation);
  axis.tap_step = -spacing;
  axis.offset_step = spacing * dilation / stride;
  Index last = taps - 1;
  while (last >= 0 && (residue + pad - last * dilation) % stride != 0) --last;
  if (last < 0) return axis;  // no tap reaches this class: its gradient is 0
  axis.tap = last;
  axis.taps = last / spacing + 1;
  axis.offset = (residue + pad - last * dilation) / stride;
  return axis;
}

template <typename T>
void run_forward(Queue& queue, const api::ConvForward& args) {
  const ConvExtents e = extents_of(args.x, args.w, args.y, args.geometry);
  const api::ConvGeometry& g = args.geometry;
  const bool relu = args.activation == api::Activation::relu;
  if (e.depthwise()) {
    depthwise_forward(queue, e, args.x.data<T>(), args.w.data<T>(), data_or_null<T>(args.bias),
                      relu, args.y.data<T>());
    return;
  }
  Gather<T> task;
  task.h = forward_axis(e.h, e.p, e.kh, g.stride_h, g.pad_top, g.dilation_h);
  task.w = forward_axis(e.w, e.q, e.kw, g.stride_w, g.pad_left, g.dilation_w);
  task.images = e.n;
  task.groups = g.groups;
  task.source_channels = e.i_group();
  task.out_channels = e.o_group();
  task.source = args.x.data<T>();
  task.out = args.y.data<T>();
  task.weights = args.w.data<T>();
  task.weight_source = 1;
  task.weight_w = e.i_group();
  task.weight_h = e.kw * task.weight_w;
  task.weight_out = e.kh * task.weight_h;
  task.weight_group = e.o_group() * task.weight_out;
  task.bias = data_or_null<T>(args.bias);
  task.relu = relu;
  gather(queue, "conv_forward", task);
}

template <typename T>
void run_backward_data(Queue& queue, const api::ConvBackwardData& args) {
  const ConvExtents e = extents_of(args.dx, args.w, args.dy, args.geometry);
  const api::ConvGeometry& g = args.geometry;
  if (e.depthwise()) {
    depthwise_backward_data(queue, e, args.dy.data<T>(), args.w.data<T>(), args.dx.data<T>());
    return;
  }
  Gather<T> task;
  task.images = e.n;
  task.groups = g.groups;
  task.source_channels = e.o_group();
  task.out_channels = e.i_group();
  task.source = args.dy.data<T>();
  task.out = args.dx.data<T>();
  task.weights = args.w.data<T>();
  task.weight_out = 1;
  task.weight_w = e.i_group();
  task.weight_h = e.kw * task.weight_w;
  task.weight_source = e.kh * task.weight_h;
  task.weight_group = e.o_group() * task.weight_source;
  for (Index a = 0; a < g.stride_h; ++a) {
    for (Index b = 0; b < g.stride_w; ++b) {
      task.h = backward_axis(e.h, e.p, e.kh, g.stride_h, g.pad_top, g.dilation_h, a);
      task.w = backward_axis(e.w, e.q, e.kw, g.stride_w, g.pad_left, g.dilation_w, b);
      gather(queue, "conv_backward_data", task);
    }
  }
}

template <typename T, typename Sum>
void run_backward_weights(Queue& queue, const api::ConvBackwardWeights& args) {
  const ConvExtents e = extents_of(args.x, args.dw, args.dy, args.geometry);
  const T* dy = args.dy.data<T>();
  if (e.depthwise()) {
    depthwise_weights(queue, e, args.x.data<T>(), dy, args.dw.data<Sum>(), args.accumulate);
  } else {
    conv_weights(queue, e, args.x.data<T>(), dy, args.dw.data<Sum>(), args.accumulate);
  }
  if (args.db.defined()) {
    sum_rows(queue, "conv_backward_weights", e.n * e.p * e.q, e.o, dy, args.db.data<Sum>(),
             args.accumulate);
  }
}

class Conv final : public api::ConvOps {
 public:
  explicit Conv(Queue& queue) : queue_(queue) {}

 private:
  void do_forward(const api::ConvForward& args) override {
    with_float(args.x.dtype(), [&](auto t) { run_forward<decltype(t)>(queue_, args); });
  }
  void do_backward_data(const api::ConvBackwardData& args) override {
    with_float(args.dy.dtype(), [&](auto t) { run_backward_data<decltype(t)>(queue_, args); });
  }
  void do_backward_weights(const api::ConvBackwardWeights& args) override {
    if (args.x.dtype() == core::DType::f64) {
      run_backward_weights<double, double>(queue_, args);
    } else {
      with_float(args.dw.dtype(),
                 [&](auto t) { run_backward_weights<float, decltype(t)>(queue_, args); });
    }
  }

  Queue& queue_;
};

}  // namespace

template <typename T, typename Sum>
void sum_rows(Queue& queue, const char* label, Index rows, Index channels, const T* dy, Sum* db,
              bool accumulate) {
  const Workspace::Frame frame(queue.workspace);
  double* sums = queue.workspace.take<double>(channels);
  reduce_rows<1>(
      queue, label, rows, channels, sums, KOKKOS_LAMBDA(Index row, Index c, double& sum, double&) {
        sum = static_cast<double>(dy[row * channels + c]);
      });
  for_elements(
      queue, label, channels, KOKKOS_LAMBDA(Index begin, Index end) {
        for (Index c = begin; c < end; ++c) {
          db[c] = static_cast<Sum>(accumulate ? static_cast<double>(db[c]) + sums[c] : sums[c]);
        }
      });
}

template void sum_rows(Queue&, const char*, Index, Index, const float*, float*, bool);
template void sum_rows(Queue&, const char*, Index, Index, const float*, double*, bool);
template void sum_rows(Queue&, const char*, Index, Index, const double*, double*, bool);

std::unique_ptr<api::ConvOps> make_conv(Queue& queue) {
  return std::make_unique<Conv>(queue);
}

}  // namespace isaribi::kokkos
