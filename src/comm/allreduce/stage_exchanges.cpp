// SPDX-License-Identifier: MIT
#include "comm/allreduce/stage_exchanges.hpp"

#include <algorithm>
#include <map>
#include <string>

#include "comm/allreduce/library_exchange.hpp"
#include "comm/allreduce/message_exchange.hpp"
#include "comm/allreduce/shared_exchange.hpp"
#include "core/error.hpp"

namespace isaribi::comm {
namespace {

/// @throws core::UsageError where somebody else's collectives would have to send a narrow type
void check_wire(const Hierarchy& hierarchy, const ScheduleOptions& options) {
  for (int l = options.first_wire_level; options.wire && l < hierarchy.levels(); ++l) {
    if (!is_black_box(hierarchy.level(l).exchange)) continue;
    throw core::UsageError("hierarchy \"" + hierarchy.text() + "\": the library cannot send " +
                               std::string(core::name_of(*options.wire)) + " at level " +
                               to_text({hierarchy.level(l)}),
                           "ring and direct can");
  }
}

}  // namespace

StageExchanges::StageExchanges(Communicator& comm, const Hierarchy& hierarchy,
                               const ScheduleOptions& options, MessageQueue& queue,
                               StageExchange::Leave leave)
    : largest_segment_(comm::largest_segment(hierarchy.all_levels())) {
  check_wire(hierarchy, options);
  if (options.segment_bytes > 0)
    largest_segment_ = std::min(largest_segment_, options.segment_bytes);
  // Segments may be uneven, and those of parts hold an element of each rank at least.
  const std::int64_t room = largest_segment_ + std::int64_t{sizeof(double)} * hierarchy.ranks();
  std::map<Exchange, StageExchange*> known;
  const auto make = [&](Exchange exchange) -> std::unique_ptr<StageExchange> {
    if (exchange == Exchange::shared)
      return std::make_unique<SharedExchange>(comm, hierarchy, room, options.window, leave);
    if (is_black_box(exchange)) {
      const GroupRoom of_group{static_cast<std::size_t>(room), options.window};
      return std::make_unique<LibraryExchange>(comm, hierarchy, exchange, of_group, leave);
    }
    return std::make_unique<MessageExchange>(queue, *options.memory, 2 * hierarchy.levels(), leave);
  };
  for (int l = 0; l < hierarchy.levels(); ++l) {
    Exchange exchange = hierarchy.level(l).exchange;
    if (exchange == Exchange::ring) exchange = Exchange::direct;  // both by messages
    StageExchange*& found = known[exchange];
    if (found == nullptr) {
      all_.push_back(make(exchange));
      found = all_.back().get();
    }
    of_level_.push_back(found);
  }
}

bool StageExchanges::progress() {
  bool moved = false;
  for (const auto& exchange : all_) moved = exchange->progress() || moved;
  return moved;
}

bool StageExchanges::busy() const {
  return std::any_of(all_.begin(), all_.end(),
                     [](const auto& exchange) { return exchange->busy(); });
}

}  // namespace isaribi::comm
