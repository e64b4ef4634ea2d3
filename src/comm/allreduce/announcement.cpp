// SPDX-License-Identifier: MIT
#include "comm/allreduce/announcement.hpp"

#include "comm/agreement.hpp"

namespace isaribi::comm {

std::string to_text(const Announcement& a) {
  const bool sum = a.collective == Collective::all_reduce;
  std::string text = sum ? "sum " : std::string(name_of(a.collective)) + "_v ";
  text += std::to_string(a.sequence) + " of " + std::to_string(a.count) + " " +
          std::string(core::name_of(static_cast<core::DType>(a.type)));
  if (!sum) text += " in parts #" + std::to_string(a.parts % 100000);
  return text;
}

std::unique_ptr<Communicator> agreed(std::unique_ptr<Communicator> comm, const RankOrder& order,
                                     const std::vector<HierarchyLevel>& levels,
                                     const ScheduleOptions& options) {
  std::string plan = to_text(levels) + " in segments of " + std::to_string(options.segment_bytes) +
                     " bytes, window " + std::to_string(options.window);
  if (options.wire) {
    plan += ", " + std::string(core::name_of(*options.wire)) + " from level " +
            std::to_string(options.first_wire_level);
  }
  std::uint64_t places = 0xcbf29ce484222325U;  // FNV-1a
  const auto add = [&](const std::vector<int>& numbers) {
    for (const int n : numbers) {
      places = (places ^ static_cast<std::uint64_t>(n)) * 0x100000001b3U;
    }
  };
  add(order.ranks);
  for (const std::vector<int>& domain : order.domains) add(domain);
  check_agreement(*comm, {{"plan of the sums", plan}, {"order of ranks", std::to_string(places)}});
  return comm;
}

}  // namespace isaribi::comm
