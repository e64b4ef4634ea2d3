// SPDX-License-Identifier: MIT
#include "comm/allreduce/parts.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace isaribi::comm {
namespace {

std::byte* bytes_of(const core::Tensor& t) {
  return static_cast<std::byte*>(t.raw());
}

void copy_bytes(const std::byte* from, std::byte* to, std::int64_t bytes) {
  if (bytes > 0 && from != to) std::memcpy(to, from, static_cast<std::size_t>(bytes));
}

}  // namespace

Parts::Parts(core::Tensor all, std::span<const std::int64_t> counts, core::Tensor mine,
             std::vector<int> order, int rank, std::int64_t segment_bytes)
    : all_(std::move(all)),
      mine_(std::move(mine)),
      counts_(counts.begin(), counts.end()),
      order_(std::move(order)),
      rank_(rank),
      width_(static_cast<std::int64_t>(core::size_of(all_.dtype()))) {
  std::int64_t total = 0;
  for (const std::int64_t count : counts_) {
    begins_.push_back(total);
    total += count;
  }
  // Pieces are rounded up, each by less than an element.
  const std::int64_t most = segment_bytes / width_ - static_cast<std::int64_t>(counts_.size());
  const std::int64_t elements = std::max<std::int64_t>(most, 1);
  segments_ = std::max<std::int64_t>((total + elements - 1) / elements, 1);
}

std::vector<Parts::Piece> Parts::pieces(std::int64_t s) const {
  std::vector<Piece> list;
  std::int64_t at = 0;
  for (const int r : order_) {
    const std::int64_t count = counts_[static_cast<std::size_t>(r)];
    const std::int64_t step = (count + segments_ - 1) / segments_;  // few different segments
    const std::int64_t begin = std::min(s * step, count), end = std::min(begin + step, count);
    list.push_back({r, (begins_[static_cast<std::size_t>(r)] + begin) * width_, at,
                    (end - begin) * width_, begin * width_});
    at += list.back().length;
  }
  return list;
}

std::vector<std::int64_t> Parts::lengths(std::int64_t s) const {
  std::vector<std::int64_t> list;
  for (const Piece& p : pieces(s)) list.push_back(p.length / width_);
  return list;
}

std::int64_t Parts::bytes(std::int64_t s) const {
  const Piece last = pieces(s).back();
  return last.in_segment + last.length;
}

std::byte* Parts::in_place(std::int64_t s) const {
  const Piece* first = nullptr;
  const std::vector<Piece> list = pieces(s);
  for (const Piece& p : list) {
    if (p.length == 0) continue;
    if (first == nullptr) first = &p;
    if (p.in_all - first->in_all != p.in_segment) return nullptr;
  }
  return first == nullptr ? bytes_of(all_) : bytes_of(all_) + first->in_all;
}

void Parts::read_all(std::int64_t s, std::byte* segment) const {
  for (const Piece& p : pieces(s))
    copy_bytes(bytes_of(all_) + p.in_all, segment + p.in_segment, p.length);
}

void Parts::write_all(std::int64_t s, const std::byte* segment) const {
  for (const Piece& p : pieces(s))
    copy_bytes(segment + p.in_segment, bytes_of(all_) + p.in_all, p.length);
}

void Parts::read_mine(std::int64_t s, std::byte* segment) const {
  for (const Piece& p : pieces(s)) {
    if (p.rank == rank_) copy_bytes(bytes_of(mine_) + p.in_part, segment + p.in_segment, p.length);
  }
}

void Parts::write_mine(std::int64_t s, const std::byte* segment) const {
  for (const Piece& p : pieces(s)) {
    if (p.rank == rank_) copy_bytes(segment + p.in_segment, bytes_of(mine_) + p.in_part, p.length);
  }
}

std::uint64_t Parts::hash() const {
  std::uint64_t h = 0xcbf29ce484222325U;  // FNV-1a
  for (const std::int64_t count : counts_) {
    h = (h ^ static_cast<std::uint64_t>(count)) * 0x100000001b3U;
  }
  return h;
}

}  // namespace isaribi::comm
