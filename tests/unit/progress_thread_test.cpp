// SPDX-License-Identifier: MIT
// The thread that moves requests on, with requests that need no MPI: it alone completes them while
// the main thread looks away, one owner at a time, errors surface, nothing is left behind.
// Meant for the thread sanitizer, too (preset tsan).
#include "comm/progress_thread.hpp"

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "catch.hpp"
#include "comm/runtime.hpp"
#include "core/timer.hpp"

using namespace isaribi;
using comm::ProgressThread;
using comm::Request;

namespace {

/// What the requests of one test have in common: plain numbers, so that the sanitizer sees every
/// access that the lock does not order.
struct Work {
  int tests = 0, waits = 0, inside = 0;
  bool together = false;  ///< two threads at once
  std::vector<int> order;
};

class Counted final : public Request::Pending {
 public:
  /// Complete at the `needed`-th test; fails at the `fails`-th.
  Counted(Work& work, int number, int needed, int fails = 0)
      : work_(work), number_(number), needed_(needed), fails_(fails) {}
  bool test() override {
    enter();
    ++work_.tests;
    if (++tests_ == fails_) {
      --work_.inside;
      throw core::CommError("rank 3 is silent", "look for it");
    }
    if (tests_ == needed_) work_.order.push_back(number_);
    --work_.inside;
    return tests_ >= needed_;
  }
  void wait() override {
    enter();
    ++work_.waits;
    work_.order.push_back(number_);
    --work_.inside;
  }
  std::int64_t moves() const override { return tests_; }

 private:
  void enter() {
    if (++work_.inside != 1) work_.together = true;
  }
  Work& work_;
  int number_, needed_, fails_, tests_ = 0;
};

Request begin(ProgressThread& thread, Work& work, int number, int needed, int fails = 0) {
  return thread.keep_moving(
      [&] { return Request(std::make_unique<Counted>(work, number, needed, fails)); });
}

/// Asks for at most 10 s.
bool becomes_complete(Request& request) {
  for (const double start = core::now_seconds(); core::now_seconds() - start < 10;) {
    if (request.test()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

constexpr int kNever = 1 << 30;

}  // namespace

TEST_CASE("a thread completes requests in order while nobody waits") {
  comm::Runtime runtime = comm::Runtime::serial();
  ProgressThread thread(runtime.world());
  Work work;
  std::vector<Request> requests;
  for (int i = 0; i < 5; ++i) requests.push_back(begin(thread, work, i, 4));
  CHECK(becomes_complete(requests.back()));
  for (Request& request : requests) CHECK(request.test());
  CHECK(work.order == std::vector<int>{0, 1, 2, 3, 4});
  CHECK(work.tests == 20);
  CHECK(work.waits == 0);
  CHECK_FALSE(work.together);
}

TEST_CASE("a thread sleeps when nothing is under way, and longer and longer when nothing moves") {
  comm::Runtime runtime = comm::Runtime::serial();
  ProgressThread thread(runtime.world());
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(thread.looks() == 0);
  class Silent final : public Request::Pending {
   public:
    bool test() override { return false; }
    void wait() override {}
  };
  const double start = core::now_seconds();
  Request request = thread.keep_moving([] { return Request(std::make_unique<Silent>()); });
  do {  // longer where other work keeps the thread from its core
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  } while (thread.looks() < 5 && core::now_seconds() - start < 10);
  request.wait();
  const double milliseconds = 1e3 * (core::now_seconds() - start);
  const std::int64_t looks = thread.looks();
  CHECK(looks >= 5);
  CHECK(static_cast<double>(looks) <= milliseconds + 10);  // 1 ms once it has grown
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(thread.looks() <= looks + 1);
  CHECK(thread.cpu_seconds() > 0);
  CHECK(thread.cpu_seconds() < 0.05);
}

TEST_CASE("wait takes a request back from the thread") {
  comm::Runtime runtime = comm::Runtime::serial();
  ProgressThread thread(runtime.world());
  Work work;
  Request first = begin(thread, work, 0, kNever), second = begin(thread, work, 1, 3);
  CHECK_FALSE(first.test());
  first.wait();
  CHECK(work.waits == 1);
  CHECK(becomes_complete(second));
  CHECK(work.order == std::vector<int>{0, 1});
  CHECK_FALSE(work.together);
}

TEST_CASE("whoever holds the lock of calls is alone") {
  comm::Runtime runtime = comm::Runtime::serial();
  ProgressThread thread(runtime.world());
  Work work;
  Request request = begin(thread, work, 0, kNever);
  for (int i = 0; i < 200; ++i) {
    const auto alone = runtime.world().sole_caller();
    const int tests = work.tests;
    if (++work.inside != 1) work.together = true;
    std::this_thread::yield();
    --work.inside;
    CHECK(work.tests == tests);
  }
  CHECK_FALSE(work.together);
  request.wait();
}

TEST_CASE("an error of the thread is thrown by test, wait and the next start") {
  comm::Runtime runtime = comm::Runtime::serial();
  ProgressThread thread(runtime.world());
  Work work;
  Request first = begin(thread, work, 0, kNever, 3), second = begin(thread, work, 1, 5);
  const auto silent = Catch::Matchers::Contains("rank 3 is silent");
  CHECK_THROWS_WITH(becomes_complete(second), silent);
  CHECK_THROWS_WITH(first.wait(), silent);
  CHECK_THROWS_WITH(begin(thread, work, 2, 1), silent);
  const int tests = work.tests;
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  CHECK(work.tests == tests);  // nobody asks a broken sum again
}

TEST_CASE("a thread goes while requests are under way, which can still be waited for") {
  comm::Runtime runtime = comm::Runtime::serial();
  Work work;
  Request request;
  {
    ProgressThread thread(runtime.world());
    request = begin(thread, work, 0, kNever);
  }
  CHECK_FALSE(request.test());
  request.wait();
  CHECK(work.waits == 1);
}

TEST_CASE("an exception abandons a request, and the thread ends all the same") {
  comm::Runtime runtime = comm::Runtime::serial();
  static Work work;  // the abandoned request stays
  try {
    ProgressThread thread(runtime.world());
    const Request request = begin(thread, work, 0, kNever);
    throw std::runtime_error("training fails");
  } catch (const std::runtime_error&) {
  }
  CHECK(work.waits == 0);
}

TEST_CASE("requests that are complete at once need no thread") {
  comm::Runtime runtime = comm::Runtime::serial();
  ProgressThread thread(runtime.world());
  Request request = thread.keep_moving([] { return Request(); });
  CHECK(request.test());
  CHECK(thread.looks() == 0);
}
