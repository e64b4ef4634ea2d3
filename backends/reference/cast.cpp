// SPDX-License-Identifier: MIT
// Conversions between element types, and packed triangles.
#include "backends/reference/convert.hpp"
#include "backends/reference/ops.hpp"
#include "backends/reference/view.hpp"

namespace isaribi::reference {

void Cast::do_cast(const core::Tensor& x, const core::Tensor& y) {
  with_any(x.dtype(), [&](auto from) {
    with_any(y.dtype(), [&](auto to) {
      const auto* in = x.data<decltype(from)>();
      auto* out = y.data<decltype(to)>();
      for (std::int64_t i = 0; i < x.count(); ++i)
        out[i] = from_double<decltype(to)>(to_double(in[i]));
    });
  });
}

void Cast::do_pack_triangle(const core::Tensor& full, const core::Tensor& packed) {
  with_real(full.dtype(), [&](auto t) {
    const View<decltype(t)> a(full), p(packed);
    for (std::int64_t i = 0; i < full.shape()[0]; ++i) {
      for (std::int64_t j = 0; j <= i; ++j) p(i * (i + 1) / 2 + j) = a(i, j);
    }
  });
}

void Cast::do_unpack_triangle(const core::Tensor& packed, const core::Tensor& full) {
  with_real(full.dtype(), [&](auto t) {
    const View<decltype(t)> a(full), p(packed);
    for (std::int64_t i = 0; i < full.shape()[0]; ++i) {
      for (std::int64_t j = 0; j <= i; ++j) a(i, j) = a(j, i) = p(i * (i + 1) / 2 + j);
    }
  });
}

}  // namespace isaribi::reference
