// SPDX-License-Identifier: MIT
#include "io/data/ring.hpp"

#include "core/timer.hpp"

namespace isaribi::data {

Slot* Ring::acquire() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return closed_ || filled_ < released_ + slots_.size(); });
  return closed_ ? nullptr : &slot(filled_);
}

void Ring::publish() {
  {
    const std::lock_guard lock(mutex_);
    ++filled_;
  }
  changed_.notify_all();
}

void Ring::finish(std::exception_ptr error) {
  {
    const std::lock_guard lock(mutex_);
    finished_ = true;
    error_ = std::move(error);
  }
  changed_.notify_all();
}

Slot* Ring::take() {
  const double start = core::now_seconds();
  std::unique_lock lock(mutex_);
  released_ = taken_;
  changed_.notify_all();
  changed_.wait(lock, [&] { return finished_ || taken_ < filled_; });
  waited_ += core::now_seconds() - start;
  if (taken_ < filled_) return &slot(taken_++);
  if (error_) std::rethrow_exception(error_);
  return nullptr;
}

void Ring::close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  changed_.notify_all();
}

}  // namespace isaribi::data
