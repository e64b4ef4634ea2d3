// SPDX-License-Identifier: MIT
#include "comm/bucket_reducer.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "core/timer.hpp"

namespace isaribi::comm {
namespace {

constexpr std::size_t kSmallestBucket = std::size_t{256} << 10;
constexpr std::size_t kLargestBucket = std::size_t{4} << 20;

std::int64_t elements_per_bucket(const core::Tensor& gradients, std::size_t bucket_bytes) {
  if (bucket_bytes == 0) {
    bucket_bytes = std::clamp(gradients.bytes() / 4, kSmallestBucket, kLargestBucket);
  }
  const std::size_t elements = bucket_bytes / core::size_of(gradients.dtype());
  return static_cast<std::int64_t>(std::max<std::size_t>(elements, 1));
}

}  // namespace

BucketReducer::BucketReducer(Communicator& comm, AllReducePlan& plan, core::Tensor gradients,
                             std::size_t bucket_bytes, bool error_feedback)
    : plan_(plan), alone_(comm.size() == 1), gradients_(std::move(gradients)) {
  if (error_feedback) residual_ = core::Tensor::zeros(gradients_.shape(), core::DType::f32);
  const std::int64_t count = gradients_.count();
  const std::int64_t step = elements_per_bucket(gradients_, bucket_bytes);
  for (std::int64_t begin = 0; begin < count; begin += step) {
    Bucket bucket;
    bucket.end = std::min(begin + step, count);
    bucket.slice = gradients_.slice(begin, {bucket.end - begin});
    if (error_feedback) bucket.residual = residual_.slice(begin, {bucket.end - begin});
    buckets_.push_back(std::move(bucket));
  }
}

void BucketReducer::ready(std::int64_t begin, std::int64_t end) {
  if (begin != ready_elements_ || end < begin || end > gradients_.count()) {
    throw core::InternalError("gradients [" + std::to_string(begin) + ", " + std::to_string(end) +
                              ") announced, expected a range that begins at " +
                              std::to_string(ready_elements_) + " of " +
                              std::to_string(gradients_.count()));
  }
  ready_elements_ = end;
  start_up_to(end);
  progress();
}

void BucketReducer::start_up_to(std::int64_t ready_elements) {
  if (alone_) return;
  while (started_ < buckets_.size() && buckets_[started_].end <= ready_elements) {
    Bucket& bucket = buckets_[started_];
    if (started_ == 0) first_start_ = core::now_seconds();
    bucket.request = plan_.start(bucket.slice, bucket.residual);
    ++started_;
    ++stats_.buckets;
    stats_.bytes += static_cast<std::int64_t>(bucket.slice.bytes());
  }
}

void BucketReducer::progress() {
  while (completed_ < started_ && buckets_[completed_].request.test()) note_completion();
}

void BucketReducer::note_completion() {
  if (++completed_ == buckets_.size()) {
    stats_.in_flight_seconds += core::now_seconds() - first_start_;
  }
}

void BucketReducer::finish() {
  const double start = core::now_seconds();
  start_up_to(gradients_.count());
  for (; completed_ < started_; note_completion()) buckets_[completed_].request.wait();
  stats_.exposed_seconds += core::now_seconds() - start;
  ++stats_.steps;
  ready_elements_ = 0;
  started_ = completed_ = 0;
}

}  // namespace isaribi::comm
