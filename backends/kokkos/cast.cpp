// SPDX-License-Identifier: MIT
// Conversions between element types, and the packed form of symmetric matrices.
#include "backends/kokkos/convert.hpp"
#include "backends/kokkos/loops.hpp"
#include "backends/kokkos/ops.hpp"

namespace isaribi::kokkos {
namespace {

using core::DType;

/// Calls f with a typed pointer to `data`.
template <typename F>
KOKKOS_INLINE_FUNCTION void with_pointer(DType type, void* data, F&& f) {
  switch (type) {
    case DType::f64:
      return f(static_cast<double*>(data));
    case DType::f32:
      return f(static_cast<float*>(data));
    case DType::f16:
      return f(static_cast<core::Half*>(data));
    case DType::bf16:
      return f(static_cast<core::BFloat16*>(data));
    case DType::i8:
      return f(static_cast<std::int8_t*>(data));
    case DType::u8:
      return f(static_cast<std::uint8_t*>(data));
    case DType::i32:
      return f(static_cast<std::int32_t*>(data));
  }
}

void run_cast(const Queue& queue, const core::Tensor& x, const core::Tensor& y) {
  const DType from = x.dtype(), to = y.dtype();
  void *source = x.raw(), *target = y.raw();
  for_elements(
      queue, "cast", x.count(), KOKKOS_LAMBDA(Index begin, Index end) {
        with_pointer(from, source, [=](auto* in) {
          with_pointer(to, target, [=](auto* out) {
            using To = std::remove_pointer_t<decltype(out)>;
            for (Index i = begin; i < end; ++i) out[i] = store_as<To>(load(in[i]));
          });
        });
      });
}

/// Row of element k of a packed lower triangle: the largest i with i (i + 1) / 2 <= k.
KOKKOS_INLINE_FUNCTION Index packed_row(Index k) {
  auto i = static_cast<Index>((Kokkos::sqrt(8.0 * static_cast<double>(k) + 1.0) - 1.0) / 2.0);
  while (i * (i + 1) / 2 > k) --i;
  while ((i + 1) * (i + 2) / 2 <= k) ++i;
  return i;
}

template <typename T>
void run_pack_triangle(const Queue& queue, Index n, const T* full, T* packed) {
  for_elements(
      queue, "pack_triangle", n * (n + 1) / 2, KOKKOS_LAMBDA(Index begin, Index end) {
        Index i = packed_row(begin), j = begin - i * (i + 1) / 2;
        for (Index k = begin; k < end; ++i, j = 0) {  // row by row
          const Index count = Kokkos::min(i + 1 - j, end - k);
          const T* row = full + i * n + j;
          for (Index c = 0; c < count; ++c) packed[k + c] = row[c];
          k += count;
        }
      });
}

template <typename T>
void run_unpack_triangle(const Queue& queue, Index n, const T* packed, T* full) {
  for_rows(
      queue, "unpack_triangle", n, n, KOKKOS_LAMBDA(Index i, Index begin, Index end) {
        for (Index j = begin; j < end; ++j)
          full[i * n + j] = i >= j ? packed[i * (i + 1) / 2 + j] : packed[j * (j + 1) / 2 + i];
      });
}

class Cast final : public api::CastOps {
 public:
  explicit Cast(Queue& queue) : queue_(queue) {}

 private:
  void do_cast(const core::Tensor& x, const core::Tensor& y) override { run_cast(queue_, x, y); }
  void do_pack_triangle(const core::Tensor& full, const core::Tensor& packed) override {
    with_float(full.dtype(), [&](auto t) {
      using T = decltype(t);
      run_pack_triangle(queue_, full.shape()[0], static_cast<const T*>(full.data<T>()),
                        packed.data<T>());
    });
  }
  void do_unpack_triangle(const core::Tensor& packed, const core::Tensor& full) override {
    with_float(full.dtype(), [&](auto t) {
      using T = decltype(t);
      run_unpack_triangle(queue_, full.shape()[0], static_cast<const T*>(packed.data<T>()),
                          full.data<T>());
    });
  }

  Queue& queue_;
};

}  // namespace

void fill(const Queue& queue, const core::Tensor& y, double value) {
  const DType type = y.dtype();
  void* target = y.raw();
  for_elements(
      queue, "fill", y.count(), KOKKOS_LAMBDA(Index begin, Index end) {
        with_pointer(type, target, [=](auto* out) {
          const auto element = store_as<std::remove_pointer_t<decltype(out)>>(value);
          for (Index i = begin; i < end; ++i) out[i] = element;
        });
      });
}

std::unique_ptr<api::CastOps> make_cast(Queue& queue) {
  return std::make_unique<Cast>(queue);
}

}  // namespace isaribi::kokkos
