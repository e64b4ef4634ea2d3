// SPDX-License-Identifier: MIT
#include "comm/progress_thread.hpp"

#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <ctime>
#include <deque>
#include <exception>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

namespace isaribi::comm {
namespace {

using namespace std::chrono_literals;
constexpr std::chrono::microseconds kShortestSleep = 20us, kLongestSleep = 1000us;
constexpr std::chrono::microseconds kSlice = 100us;  // the shortest that Linux grants

// Linux 6.12 and later let a thread ask for short slices of its core, without privileges: with its
// nearer deadline (EEVDF: Stoica & Abdel-Wahab 1995) it runs as soon as it wakes, instead of after
// the slices of all that compute there. Its share of the core stays the same. Older kernels ignore
// it, and nothing depends on it.
void ask_for_short_slices() {
#ifdef SYS_sched_setattr
  struct {  // sched_attr of linux/sched/types.h, first version
    std::uint32_t size, policy;
    std::uint64_t flags;
    std::int32_t nice;
    std::uint32_t priority;
    std::uint64_t runtime, deadline, period;
  } mine = {};
  constexpr pid_t kThisThread = 0;
  if (syscall(SYS_sched_getattr, kThisThread, &mine, sizeof mine, 0) != 0) return;
  if (mine.policy != SCHED_OTHER) return;  // whoever chose another one knows better
  mine.size = sizeof mine;
  mine.runtime = std::chrono::nanoseconds(kSlice).count();
  syscall(SYS_sched_setattr, kThisThread, &mine, 0);
#endif
}

struct Item {
  Request request;
  std::atomic<bool> complete{false};
};

}  // namespace

struct ProgressThread::Impl {
  explicit Impl(std::recursive_mutex& c) : calls(c) {}

  void run();
  bool look();
  void rethrow() const {
    if (failed.load(std::memory_order_acquire)) std::rethrow_exception(error);
  }

  std::recursive_mutex& calls;  ///< guards what follows
  std::condition_variable_any changed;
  std::deque<std::shared_ptr<Item>> items;  ///< under way, in the order of their start
  bool stop = false;
  std::exception_ptr error;
  std::atomic<bool> failed{false};  ///< error is there to be read
  std::atomic<std::int64_t> looks{0}, nanoseconds{0};
  std::thread thread;
};

void ProgressThread::Impl::run() {
  ask_for_short_slices();
  std::unique_lock lock(calls);
  auto sleep = kShortestSleep;
  while (!stop) {
    if (items.empty()) {
      changed.wait(lock, [&] { return stop || !items.empty(); });
      sleep = kShortestSleep;
      continue;
    }
    sleep = look() ? kShortestSleep : std::min(2 * sleep, kLongestSleep);
    changed.wait_for(lock, sleep);  // a new request, too, is a reason to look
  }
}

// Whether anything has moved.
bool ProgressThread::Impl::look() {
  looks.fetch_add(1, std::memory_order_relaxed);
  bool moved = false;
  try {
    while (!items.empty()) {
      Item& oldest = *items.front();
      const std::int64_t before = oldest.request.moves();
      if (!oldest.request.test()) {
        moved = moved || oldest.request.moves() != before;
        break;
      }
      oldest.complete.store(true, std::memory_order_release);
      items.pop_front();
      moved = true;
    }
  } catch (...) {
    error = std::current_exception();
    items.clear();  // the main thread holds them still, and throws
    failed.store(true, std::memory_order_release);
  }
  timespec time{};
  if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time) == 0)
    nanoseconds.store(time.tv_sec * std::int64_t{1000000000} + time.tv_nsec,
                      std::memory_order_relaxed);
  return moved;
}

class ProgressThread::Pending final : public Request::Pending {
 public:
  Pending(std::shared_ptr<Impl> impl, std::shared_ptr<Item> item)
      : impl_(std::move(impl)), item_(std::move(item)) {}
  bool test() override {
    if (item_->complete.load(std::memory_order_acquire)) return true;
    impl_->rethrow();
    return false;
  }
  void wait() override {
    if (item_->complete.load(std::memory_order_acquire)) return;
    const std::lock_guard alone(impl_->calls);
    impl_->rethrow();
    item_->request.wait();
    item_->complete.store(true, std::memory_order_release);
    std::erase(impl_->items, item_);
  }

 private:
  std::shared_ptr<Impl> impl_;
  std::shared_ptr<Item> item_;
};

ProgressThread::ProgressThread(Communicator& comm) {
  if (comm.calls() == nullptr)
    throw core::CommError("this MPI library allows calls of the main thread only",
                          "set comm/progress=calls, or use a library built with thread support");
  impl_ = std::make_shared<Impl>(*comm.calls());
  try {
    impl_->thread = std::thread([impl = impl_.get()] { impl->run(); });
  } catch (const std::system_error& error) {
    throw core::CommError(std::string("no thread to move sums on: ") + error.what(),
                          "set comm/progress=calls, or raise the limit of processes (ulimit -u)");
  }
  pthread_setname_np(impl_->thread.native_handle(), "isaribi-sums");
}

ProgressThread::~ProgressThread() {
  {
    const std::lock_guard alone(impl_->calls);
    impl_->stop = true;
    impl_->changed.notify_one();
  }
  impl_->thread.join();
}

Request ProgressThread::keep_moving(const std::function<Request()>& start) {
  const std::lock_guard alone(impl_->calls);
  impl_->rethrow();
  auto item = std::make_shared<Item>();
  item->request = start();
  if (item->request.complete()) return {};
  impl_->items.push_back(item);
  impl_->changed.notify_one();
  return Request(std::make_unique<Pending>(impl_, std::move(item)));
}

double ProgressThread::cpu_seconds() const {
  return 1e-9 * static_cast<double>(impl_->nanoseconds.load(std::memory_order_relaxed));
}

std::int64_t ProgressThread::looks() const {
  return impl_->looks.load(std::memory_order_relaxed);
}

namespace {

class MovedPlan final : public AllReducePlan {
 public:
  MovedPlan(std::unique_ptr<AllReducePlan> plan, std::shared_ptr<ProgressThread> thread)
      : plan_(std::move(plan)), thread_(std::move(thread)) {}
  std::string name() const override { return plan_->name(); }
  std::string description() const override {
    return plan_->description() + "; a thread moves sums on";
  }
  OwnerRoute* owner_route() override { return plan_->owner_route(); }

 private:
  Request do_start(core::Tensor bucket, core::Tensor residual) override {
    return thread_->keep_moving(
        [&] { return plan_->start(std::move(bucket), std::move(residual)); });
  }

  std::unique_ptr<AllReducePlan> plan_;
  std::shared_ptr<ProgressThread> thread_;  ///< joined before the plan goes
};

}  // namespace

std::unique_ptr<AllReducePlan> keep_moving(std::unique_ptr<AllReducePlan> plan,
                                           std::shared_ptr<ProgressThread> thread) {
  return std::make_unique<MovedPlan>(std::move(plan), std::move(thread));
}

}  // namespace isaribi::comm
