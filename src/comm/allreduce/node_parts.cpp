// SPDX-License-Identifier: MIT
#include "comm/allreduce/node_parts.hpp"

#include <hwloc.h>

#include <memory>
#include <type_traits>

#include "core/error.hpp"

namespace isaribi::comm {
namespace {

struct Destroy {
  void operator()(hwloc_topology_t machine) const { hwloc_topology_destroy(machine); }
};
struct Free {
  void operator()(hwloc_bitmap_t cores) const { hwloc_bitmap_free(cores); }
};
using Machine = std::unique_ptr<std::remove_pointer_t<hwloc_topology_t>, Destroy>;
using Cores = std::unique_ptr<std::remove_pointer_t<hwloc_bitmap_t>, Free>;

Machine make_machine() {
  hwloc_topology_t machine = nullptr;
  return Machine(hwloc_topology_init(&machine) == 0 ? machine : nullptr);
}

/// From the smallest object that holds all cores outwards. Memory hangs beside the objects that
/// hold cores, below the smallest one whose cores are all near to it.
NodeParts parts_around(hwloc_topology_t machine, hwloc_const_bitmap_t cores) {
  constexpr hwloc_obj_type_t kTypes[] = {HWLOC_OBJ_L2CACHE, HWLOC_OBJ_L3CACHE, HWLOC_OBJ_NUMANODE,
                                         HWLOC_OBJ_PACKAGE};
  NodeParts parts = kNoParts;
  if (hwloc_bitmap_iszero(cores) != 0) return parts;
  for (hwloc_obj_t around = hwloc_get_obj_covering_cpuset(machine, cores); around != nullptr;
       around = around->parent) {
    hwloc_obj_t memory = around->memory_first_child;
    while (memory != nullptr && memory->type != HWLOC_OBJ_NUMANODE)  // a cache of the memory's side
      memory = memory->memory_first_child;
    for (std::size_t k = 0; k < parts.size(); ++k) {
      const hwloc_obj_t found = kTypes[k] == HWLOC_OBJ_NUMANODE ? memory : around;
      if (parts[k] < 0 && found != nullptr && found->type == kTypes[k])
        parts[k] = static_cast<int>(found->logical_index);
    }
  }
  return parts;
}

}  // namespace

NodeParts parts_of_this_process() {
  const Machine machine = make_machine();
  const Cores mine(hwloc_bitmap_alloc());
  if (machine == nullptr || mine == nullptr || hwloc_topology_load(machine.get()) != 0 ||
      hwloc_get_cpubind(machine.get(), mine.get(), HWLOC_CPUBIND_PROCESS) != 0) {
    return kNoParts;
  }
  return parts_around(machine.get(), mine.get());
}

NodeParts parts_of(const std::string& text, const std::vector<int>& cores) {
  const Machine machine = make_machine();
  const Cores mine(hwloc_bitmap_alloc());
  if (machine == nullptr || mine == nullptr ||
      hwloc_topology_set_synthetic(machine.get(), text.c_str()) != 0 ||
      hwloc_topology_load(machine.get()) != 0) {
    throw core::InternalError("hwloc makes no machine of \"" + text + "\"");
  }
  for (const int core : cores) hwloc_bitmap_set(mine.get(), static_cast<unsigned>(core));
  return parts_around(machine.get(), mine.get());
}

}  // namespace isaribi::comm
