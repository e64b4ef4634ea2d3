// SPDX-License-Identifier: MIT
#include "comm/allreduce/schedule_run.hpp"

namespace isaribi::comm {

// Partial sums must not be seen in the caller's buffer; copies may arrive there.
void Run::read(MemoryPool& memory) {
  const Parts& parts = *operation->parts;
  const bool gather = operation->mine.collective == Collective::all_gather;
  if (gather) data = parts.in_place(segment);
  if (data == nullptr) {
    copy = memory.take(parts.bytes(segment));
    data = static_cast<std::byte*>(copy.raw());
  }
  gather ? parts.read_mine(segment, data) : parts.read_all(segment, data);
}

void Run::write(MemoryPool& memory) {
  const Parts& parts = *operation->parts;
  const bool gather = operation->mine.collective == Collective::all_gather;
  if (!gather) parts.write_mine(segment, data);
  if (gather && copy.defined()) parts.write_all(segment, data);
  memory.give_back(copy);
}

}  // namespace isaribi::comm
