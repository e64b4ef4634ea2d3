// SPDX-License-Identifier: MIT
// Nested groups of ranks, and how the members of a group exchange: one member of the family of
// N-level allreduces. With P = p1 p2 ... pL, level i reduces and scatters in groups of pi on the
// way down and gathers on the way up. One level of P is the flat ring, all pi = 2 is Rabenseifner's
// algorithm (Thakur, Rabenseifner & Gropp 2005; Ueno & Yokota 2019). Groups may be uneven: nothing
// below asks P to have factors. Pure: no messages here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace isaribi::comm {

/// How k members of a group reduce-scatter and allgather n elements; each moves n (k - 1) / k.
enum class Exchange : std::uint8_t {
  ring,     ///< k - 1 rounds with two neighbours; partial sums travel
  direct,   ///< one round, everyone with everyone; summed by a fixed binary tree over members
  shared,   ///< as direct, through memory that the ranks of a node share
  library,  ///< by the collectives of the MPI library, written "mpi"
  nccl,     ///< by those of NCCL, between the GPUs of the ranks
};
inline constexpr Exchange kExchanges[] = {Exchange::ring, Exchange::direct, Exchange::shared,
                                          Exchange::library, Exchange::nccl};
/// Somebody else's collectives: groups of one size, elements of the type of the buffer, and an
/// order of additions that is not known.
constexpr bool is_black_box(Exchange exchange) {
  return exchange == Exchange::library || exchange == Exchange::nccl;
}
std::string_view name_of(Exchange exchange);
/// Bytes of a segment that goes through a shared level; a rank shares 2 x window times as much for
/// each such level. Likewise on the GPU, and page-locked beside it, for a level of NCCL.
inline constexpr std::int64_t kLargestSharedSegment = std::int64_t{1} << 20;
inline constexpr std::int64_t kLargestNcclSegment = std::int64_t{16} << 20;

/// One level as written: groups of at most `size` members of the level below.
struct HierarchyLevel {
  Exchange exchange = Exchange::ring;
  int size = 1;
  bool operator==(const HierarchyLevel&) const = default;
};

/// "direct2-ring4": innermost first. @throws core::UsageError for anything else.
std::vector<HierarchyLevel> parse_levels(std::string_view text);
std::string to_text(const std::vector<HierarchyLevel>& levels);
/// Bytes of a segment that can go along all levels.
std::int64_t largest_segment(const std::vector<HierarchyLevel>& levels);

/// Where ranks sit, as far as grouping cares: ranks in machine order (neighbours are close), and
/// the groups they naturally form, innermost first. domains[d][i] numbers the domain of the i-th
/// rank of the order: ranks of a node, nodes of a rack; numbers increase along the order, and a
/// domain of level d lies in one of level d + 1. The whole machine is not listed.
struct RankOrder {
  std::vector<int> ranks;
  std::vector<std::vector<int>> domains;

  /// Ranks 0 .. P - 1 without domains.
  static RankOrder flat(int ranks);
};

class Hierarchy {
 public:
  /// A group's members are groups of the level below, at level 0 positions in the rank order.
  struct Group {
    std::vector<int> members;
    int first_position = 0;  ///< of its ranks, which are neighbours in the order
    int positions = 0;       ///< how many ranks
  };

  /// Level by level, groups `size` consecutive members, the last group of a domain being smaller
  /// where it does not come out even. No group crosses the innermost domain that still has several
  /// members, unless `size` exceeds what any such domain has: then that kind of domain is ignored
  /// from there on ("ring8" on nodes of 4 is a flat ring).
  /// @throws core::UsageError when the levels do not end in one group of all ranks, or a level of
  /// the library or of NCCL has uneven groups, or stands on such.
  Hierarchy(const RankOrder& order, const std::vector<HierarchyLevel>& levels);

  int ranks() const { return static_cast<int>(order_.size()); }
  int levels() const { return static_cast<int>(levels_.size()); }
  const std::vector<HierarchyLevel>& all_levels() const { return levels_; }
  const HierarchyLevel& level(int l) const { return levels_[static_cast<std::size_t>(l)]; }
  const std::vector<Group>& groups(int l) const { return groups_[static_cast<std::size_t>(l)]; }
  /// Number of the group of a position at level l.
  int group_of(int l, int position) const;
  int rank_at(int position) const { return order_[static_cast<std::size_t>(position)]; }
  int position_of(int rank) const { return position_[static_cast<std::size_t>(rank)]; }
  /// Where a position stands in its group of level l: its member is number `index` of `members`.
  struct Place {
    int index = 0, members = 1;
  };
  Place place_of(int l, int position) const;
  /// Positions by their index at level 0, then at level 1, ..: parts of ranks in this order are cut
  /// into neighbours by every level of even groups.
  std::vector<int> part_order() const;
  /// "direct2-ring4"
  std::string text() const { return to_text(levels_); }

  /// Two hierarchies with equal signatures add up in the same order, and so give the same bits
  /// however buffers are cut; 0 where the order depends on the element (a ring of more than two) or
  /// is not known (more than two in the library, or in NCCL).
  std::uint64_t sum_signature() const;

 private:
  void check_even(int l) const;

  std::vector<int> order_, position_;
  std::vector<HierarchyLevel> levels_;
  std::vector<std::vector<Group>> groups_;
};

/// All ordered factorisations of n into factors >= 2, of which there are H(n): 256 for 512, 1,024
/// for 2,048. {{}} for n = 1.
std::vector<std::vector<int>> ordered_factorisations(int n);

}  // namespace isaribi::comm
