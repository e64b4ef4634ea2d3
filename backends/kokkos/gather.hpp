// SPDX-License-Identifier: MIT
// Convolution in gather form: every output pixel sums taps of the source, without atomics. The
// forward pass is one such problem; the backward pass on data is stride_h x stride_w of them (one
// per residue class of the input pixels, each a convolution of dy with step 1 over the taps that
// reach that class).
#pragma once

#include "backends/kokkos/queue.hpp"

namespace isaribi::kokkos {

/// One spatial axis. Output number t < count sits at out + t out_step and reads, for tap j < taps,
/// the source at t step + offset + j offset_step (0 outside the source) with the weights of kernel
/// position tap + j tap_step.
struct GatherAxis {
  Index source = 0, extent = 0;  ///< extents of the source and of the whole output
  Index count = 0, step = 1;
  Index taps = 0, offset = 0, offset_step = 1;
  Index out = 0, out_step = 1;
  Index tap = 0, tap_step = 1;

  /// First source coordinate that outputs [begin, ..) read.
  Index first(Index begin) const { return begin * step + offset; }
  /// Source coordinates that outputs [begin, end) span.
  Index span(Index begin, Index end) const {
    return taps == 0 ? 0 : (end - 1 - begin) * step + (taps - 1) * offset_step + 1;
  }
  /// Whether every tap of every output falls inside the source.
  bool inside() const {
    return taps == 0 || (first(0) >= 0 && first(0) + span(0, count) <= source);
  }
};

template <typename T>
struct Gather {
  GatherAxis h, w;
  Index images = 0, groups = 1;
  Index source_channels = 0, out_channels = 0;  ///< per group
  const T* source = nullptr;  ///< [images, h.source, w.source, groups * source_channels]
  T* out = nullptr;           ///< [images, h.extent, w.extent, groups * out_channels]
  const T* weights = nullptr;
  Index weight_group = 0, weight_out = 0,
        weight_source = 0;           ///< strides of the weights per group and channel
  Index weight_h = 0, weight_w = 0;  ///< and per kernel position
  const T* bias = nullptr;           ///< [groups * out_channels] or none
  bool relu = false;
};

/// T: float, double.
template <typename T>
void gather(Queue& queue, const char* label, const Gather<T>& problem);

}  // namespace isaribi::kokkos
