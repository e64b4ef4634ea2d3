// SPDX-License-Identifier: MIT
#include "comm/allreduce/stage_sums.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <tuple>

namespace isaribi::comm {
namespace {

constexpr std::int64_t kBlock = 2048;  // elements that stay in the first cache level

template <typename T>
void add_residual(const void* x, const float* residual, void* sum, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i)
    static_cast<T*>(sum)[i] = static_cast<const T*>(x)[i] + static_cast<T>(residual[i]);
}

template <typename T>
void keep_residual(const void* sum, const void* rounded, float* residual, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    const T lost = static_cast<const T*>(sum)[i] - static_cast<const T*>(rounded)[i];
    residual[i] = std::isfinite(lost) ? static_cast<float>(lost) : 0.0F;
  }
}

}  // namespace

StageSums::StageSums(core::DType type, core::DType wire, core::SumKernelsOf fast)
    : kernels_(sum_kernels(type, wire, fast)),
      width_(static_cast<std::int64_t>(core::size_of(type))),
      wire_width_(static_cast<std::int64_t>(core::size_of(wire))),
      narrow_(wire != type),
      f64_(type == core::DType::f64) {}

void StageSums::take_in(const Stage& stage, std::vector<Slot> round, std::byte* buffer) const {
  if (stage.gather) {
    for (const Slot& s : round) {
      std::byte* to = at(buffer, s.message->begin);
      if (s.data != to) kernels_.widen(s.data, to, s.message->end - s.message->begin);
    }
    return;
  }
  if (stage.exchange == Exchange::ring) {
    std::vector<std::byte> wide(narrow_ ? static_cast<std::size_t>(kBlock * width_) : 0);
    for (const Slot& s : round) {
      for (std::int64_t i = s.message->begin; i < s.message->end; i += kBlock) {
        const std::int64_t n = std::min(kBlock, s.message->end - i);
        const std::byte* part = s.data + (i - s.message->begin) * wire_width_;
        if (narrow_) {
          kernels_.widen(part, wide.data(), n);
          part = wide.data();
        }
        kernels_.add(at(buffer, i), part, n);
      }
    }
    return;
  }
  // A direct exchange: the parts of one piece side by side, in the order of members.
  std::sort(round.begin(), round.end(), [](const Slot& a, const Slot& b) {
    return std::tie(a.message->begin, a.message->member) <
           std::tie(b.message->begin, b.message->member);
  });
  const auto others = static_cast<std::size_t>(stage.members - 1);
  for (std::size_t i = 0; i < round.size(); i += others) {
    add_by_tree(stage, round.data() + i, buffer);
  }
}

void StageSums::add_by_tree(const Stage& stage, const Slot* parts, std::byte* buffer) const {
  const auto members = static_cast<std::size_t>(stage.members);
  const auto me = static_cast<std::size_t>(stage.me);
  const std::int64_t begin = parts->message->begin, end = parts->message->end;
  std::vector<std::byte> wide(
      narrow_ ? members * static_cast<std::size_t>(std::min(kBlock, end - begin) * width_) : 0);
  std::vector<std::byte*> part(members);
  for (std::int64_t i = begin; i < end; i += kBlock) {
    const std::int64_t n = std::min(kBlock, end - i);
    for (std::size_t m = 0; m < members; ++m) {
      if (m == me) {
        part[m] = at(buffer, i);
        continue;
      }
      const Slot& slot = parts[m < me ? m : m - 1];
      part[m] = slot.data + (i - begin) * wire_width_;
      if (!narrow_) continue;
      std::byte* to = wide.data() + static_cast<std::int64_t>(m) * n * width_;
      kernels_.widen(part[m], to, n);
      part[m] = to;
    }
    for (std::size_t width = 1; width < members; width *= 2) {
      for (std::size_t m = 0; m + width < members; m += 2 * width) {
        kernels_.add(part[m], part[m + width], n);
      }
    }
    if (me != 0) std::memcpy(at(buffer, i), part[0], static_cast<std::size_t>(n * width_));
  }
}

void StageSums::round_own(const Stage& stage, std::byte* buffer) const {
  if (!narrow_ || (stage.exchange == Exchange::ring && stage.members > 2)) return;
  const int other = stage.me == 0 ? 1 : 0;  // every piece comes once from each
  for (const Message& m : stage.receives) {
    if (m.member == other) round(buffer, m.begin, m.end);
  }
}

void StageSums::put_out(const Slot& slot, const std::byte* buffer, float* residual) const {
  const std::int64_t begin = slot.message->begin, end = slot.message->end;
  if (residual == nullptr || !narrow_) {
    kernels_.narrow(at(buffer, begin), slot.data, end - begin);
    return;
  }
  for (std::int64_t i = begin; i < end; i += kBlock) {
    put_out_block(at(buffer, i), slot.data + (i - begin) * wire_width_, std::min(kBlock, end - i),
                  residual + i);
  }
}

void StageSums::put_out_block(const std::byte* from, std::byte* to, std::int64_t n,
                              float* residual) const {
  alignas(64) double sum[kBlock], rounded[kBlock];  // of the type of the buffer
  (f64_ ? add_residual<double> : add_residual<float>)(from, residual, sum, n);
  kernels_.narrow(sum, to, n);
  kernels_.widen(to, rounded, n);
  (f64_ ? keep_residual<double> : keep_residual<float>)(sum, rounded, residual, n);
}

void StageSums::round(std::byte* buffer, std::int64_t begin, std::int64_t end,
                      float* residual) const {
  std::vector<std::byte> narrow(static_cast<std::size_t>(kBlock * wire_width_));
  for (std::int64_t i = begin; narrow_ && i < end; i += kBlock) {
    const std::int64_t n = std::min(kBlock, end - i);
    if (residual == nullptr) {
      kernels_.narrow(at(buffer, i), narrow.data(), n);
    } else {
      put_out_block(at(buffer, i), narrow.data(), n, residual + i);
    }
    kernels_.widen(narrow.data(), at(buffer, i), n);
  }
}

}  // namespace isaribi::comm
