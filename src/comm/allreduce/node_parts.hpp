// SPDX-License-Identifier: MIT
// Which parts of a node the cores of a rank belong to: caches, NUMA domain, socket, as hwloc tells.
#pragma once

#include <array>
#include <string>
#include <vector>

namespace isaribi::comm {

/// Parts of a node that several ranks may share, in the order in which they nest on most machines;
/// others nest otherwise (sub-NUMA clustering: NUMA domains within one L3).
inline constexpr std::array<const char*, 4> kNodeParts = {"L2 cache", "L3 cache", "NUMA domain",
                                                          "socket"};
/// In that order: the number, on its node, of the part that all cores of a rank belong to; -1:
/// they belong to several, or the machine has none, or tells of none.
using NodeParts = std::array<int, 4>;
inline constexpr NodeParts kNoParts = {-1, -1, -1, -1};

/// Of the cores that this process is bound to.
NodeParts parts_of_this_process();
/// Of `cores`, on a machine in hwloc's words, innermost last: "pack:2 numa:2 l3:2 core:4 pu:1".
/// @throws core::InternalError when hwloc does not understand it
NodeParts parts_of(const std::string& machine, const std::vector<int>& cores);

}  // namespace isaribi::comm
