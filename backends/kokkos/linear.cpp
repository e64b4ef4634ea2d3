// SPDX-License-Identifier: MIT
// Fully connected layers on the shared GEMM; the weight gradient sums blocks of kSampleBlock
// samples in the operand type and the blocks in f64.
#include "backends/kokkos/conv_kernels.hpp"
#include "backends/kokkos/matrix.hpp"
#include "backends/kokkos/ops.hpp"

namespace isaribi::kokkos {
namespace {

template <typename T>
void run_forward(Queue& queue, const api::LinearForward& args) {
  Product<T> p;
  p.m = args.x.shape()[0];
  p.k = args.x.shape()[1];
  p.n = args.w.shape()[0];
  p.a = args.x.data<T>();
  p.a_m = p.k;
  p.a_k = 1;
  p.b = args.w.data<T>();
  p.b_k = 1;
  p.b_n = p.k;
  p.c = args.y.data<T>();
  p.c_m = p.n;
  p.bias = data_or_null<T>(args.bias);
  p.relu = args.activation == api::Activation::relu;
  multiply(queue, "linear_forward", p);
}

template <typename T>
void run_backward_data(Queue& queue, const api::LinearBackwardData& args) {
  Product<T> p;
  p.m = args.dy.shape()[0];
  p.k = args.dy.shape()[1];
  p.n = args.w.shape()[1];
  p.a = args.dy.data<T>();
  p.a_m = p.k;
  p.a_k = 1;
  p.b = args.w.data<T>();
  p.b_k = p.n;
  p.b_n = 1;
  p.c = args.dx.data<T>();
  p.c_m = p.n;
  multiply(queue, "linear_backward_data", p);
}

template <typename T, typename Sum>
struct WeightsKernel {
  static constexpr int kColumns = PanelTile<T>::kColumns;
  PanelTile<T> tile;
  const T* dy_panels;  // [row tiles, n, tile rows]
  const T* x_panels;   // [column panels, n, kColumns]
  Sum* dw;             // [outputs, inputs]
  Index n, outputs, inputs, tiles_n;
  bool accumulate;

  KOKKOS_INLINE_FUNCTION void operator()(Index item) const {
    const Index t = item / tiles_n, panel = item % tiles_n;
    double total[PanelTile<T>::kMaxRows * kColumns] = {};
    T acc[PanelTile<T>::kMaxRows * kColumns];
    for (Index first = 0; first < n; first += api::kSampleBlock) {
      tile.multiply(dy_panels + (t * n + first) * tile.rows,
                    x_panels + (panel * n + first) * kColumns,
                    Kokkos::min<Index>(api::kSampleBlock, n - first), acc);
      tile.add(acc, total);
    }
    const Index rows = Kokkos::min<Index>(tile.rows, outputs - t * tile.rows);
    const Index columns = Kokkos::min<Index>(kColumns, inputs - panel * kColumns);
    for (Index m = 0; m < rows; ++m) {
      Sum* out = dw + (t * tile.rows + m) * inputs + panel * kColumns;
      for (Index j = 0; j < columns; ++j) {
        const double sum = total[m * kColumns + j];
        out[j] = static_cast<Sum>(accumulate ? static_cast<double>(out[j]) + sum : sum);
      }
    }
  }
};

template <typename T, typename Sum>
void run_backward_weights(Queue& queue, const api::LinearBackwardWeights& args) {
  constexpr const char* kLabel = "linear_backward_weights";
  const Workspace::Frame frame(queue.workspace);
  const Index n = args.x.shape()[0], inputs = args.x.shape()[1], outputs = args.dy.shape()[1];
  const T *x = args.x.data<T>(), *dy = args.dy.data<T>();
  const PanelTile<T> tile = PanelTile<T>::best();
  const Index tiles_m = panel_count(outputs, tile.rows),
              tiles_n = panel_count(inputs, PanelTile<T>::kColumns);
  T* dy_panels = queue.workspace.take<T>(tiles_m * n * tile.rows);
  T* x_panels = queue.workspace.take<T>(tiles_n * n * PanelTile<T>::kColumns);
  pack_panels(queue, kLabel, dy, outputs, n, Index{1}, outputs, tile.rows, dy_panels);
  pack_panels(queue, kLabel, x, inputs, n, Index{1}, inputs, PanelTile<T>::kColumns, x_panels);
  const WeightsKernel<T, Sum> kernel{tile,    dy_panels, x_panels, args.dw.data<Sum>(), n,
                                     outputs, inputs,    tiles_n,  args.accumulate};
  Kokkos::parallel_for(
      kLabel,
      Kokkos::RangePolicy<Space, Kokkos::IndexType<Index>>(queue.space, 0, tiles_m * tiles_n),
      kernel);
  if (args.db.defined())
    sum_rows(queue, kLabel, n, outputs, dy, args.db.data<Sum>(), args.accumulate);
}

class Linear final : public api::LinearOps {
 public:
  explicit Linear(Queue& queue) : queue_(queue) {}

 private:
  void do_forward(const api::LinearForward& args) override {
    with_float(args.x.dtype(), [&](auto t) { run_forward<decltype(t)>(queue_, args); });
  }
  void do_backward_data(const api::LinearBackwardData& args) override {
    with_float(args.dy.dtype(), [&](auto t) { run_backward_data<decltype(t)>(queue_, args); });
  }
  void do_backward_weights(const api::LinearBackwardWeights& args) override {
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

std::unique_ptr<api::LinearOps> make_linear(Queue& queue) {
  return std::make_unique<Linear>(queue);
}

}  // namespace isaribi::kokkos
