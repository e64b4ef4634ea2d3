// SPDX-License-Identifier: MIT
#include "optim/shards.hpp"

#include "comm/owner_exchange.hpp"

namespace isaribi::optim {

void RowExchange::begin() {
  if (node_ == nullptr) return;
  const auto timed = time();
  node_->fence();
}

void RowExchange::start(const nn::Parameter& p) {
  if (!p.shards.any()) return;
  if (p.node != nullptr) return on_node_.push_back({p.value, p.own_counts()});
  under_way_.push_back(
      comm::start_all_gather_along(route_, comm_, p.own(), p.own_counts(), p.value));
}

void RowExchange::finish() {
  if (under_way_.empty() && on_node_.empty()) return;
  const auto timed = time();
  for (comm::Request& request : under_way_) request.wait();
  under_way_.clear();
  if (node_ != nullptr) node_->complete(on_node_);
  on_node_.clear();
}

std::optional<core::PhaseTimers::Scope> RowExchange::time() const {
  if (timers_ == nullptr) return std::nullopt;
  return std::optional<core::PhaseTimers::Scope>(std::in_place, *timers_, "exchange");
}

Moments::Moments(const char* prefix, Parameters parameters, api::Backend& backend)
    : prefix_(prefix), parameters_(parameters), backend_(backend) {
  for (const nn::Parameter* p : parameters) {
    const core::Tensor like = p->own();
    own_.push_back(backend.make(like.shape(), like.dtype()));
    backend.elementwise().fill({.y = own_.back(), .value = 0.0});
  }
}

void Moments::gather(comm::Communicator& comm) {
  whole_ = own_;
  for (std::size_t i = 0; i < own_.size(); ++i) {
    const nn::Parameter& p = *parameters_[i];
    if (!p.shards.any()) continue;
    whole_[i] = backend_.make(p.value.shape(), p.value.dtype());
    comm.all_gather_v(own_[i], p.own_counts(), whole_[i]);
  }
}

void Moments::append_to(std::vector<core::NamedTensor>& list) const {
  append_named(list, prefix_, parameters_, whole_.empty() ? own_ : whole_);
}

void Moments::adopt() {
  for (std::size_t i = 0; i < whole_.size(); ++i) {
    const nn::Shards& shards = parameters_[i]->shards;
    if (shards.any()) backend_.copy(whole_[i].rows(shards.begin(), shards.end()), own_[i]);
  }
  release();
}

}  // namespace isaribi::optim
