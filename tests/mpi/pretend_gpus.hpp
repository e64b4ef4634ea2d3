// SPDX-License-Identifier: MIT
// Stands in for NCCL where there are no GPUs: groups whose members meet in a file that all of them
// map. As there, a collective completes some time after it was started, its memory is what the
// group was made for, and its parts go through memory that is not the caller's.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "comm/gpus.hpp"
#include "core/error.hpp"

namespace isaribi::mpi_test {

/// What the members of a group share: collective n of a member lies in its place n % at_once.
class PretendGroup final : public comm::Collectives {
 public:
  PretendGroup(const std::string& file, int rank, int size, const comm::GroupRoom& room)
      : file_(file), rank_(rank), size_(size), room_(room) {
    room_.bytes = (room.bytes + 63) / 64 * 64;  // aligned as device memory is
    bytes_ = sizeof(Counters) * static_cast<std::size_t>(size) +
             static_cast<std::size_t>(size * room.at_once) * room_.bytes;
    if (refuses) throw core::CommError("a pretended GPU refuses");
    const int handle = open(file.c_str(), O_RDWR | O_CREAT, 0600);
    if (handle < 0 || ftruncate(handle, static_cast<off_t>(bytes_)) != 0)
      throw core::CommError("a pretended group cannot share " + file);
    memory_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, handle, 0);
    close(handle);
    if (memory_ == MAP_FAILED) throw core::CommError("a pretended group cannot map " + file);
  }
  ~PretendGroup() override {
    munmap(memory_, bytes_);
    unlink(file_.c_str());
  }

  comm::Request start_all_reduce(core::Tensor x) override {
    return start({x, 0, x.count(), x, 0, true});
  }
  comm::Request start_reduce_scatter_v(core::Tensor all, std::span<const std::int64_t> counts,
                                       core::Tensor mine) override {
    return start({all, 0, all.count(), mine, first(counts), true});
  }
  comm::Request start_all_gather_v(core::Tensor mine, std::span<const std::int64_t> counts,
                                   core::Tensor all) override {
    return start({mine, first(counts), all.count(), all, 0, false});
  }

  /// Collectives that all groups of this rank have finished.
  static inline std::int64_t finished = 0;
  /// From now on sums are wrong, or nobody can join.
  static inline bool wrong = false, refuses = false;

 private:
  struct Counters {
    std::atomic<std::int64_t> given, taken;
  };
  /// `from` stands at element `in` of `count`, what is at `out` goes to `to`; elsewhere a member
  /// gives zeros. Its bits are those of a sum in the order of members.
  struct Work {
    core::Tensor from;
    std::int64_t in, count;
    core::Tensor to;
    std::int64_t out;
    bool sums;
    std::int64_t number = 0;
    int asked = 0;
    bool given = false, done = false;
  };
  class Pending final : public comm::Request::Pending {
   public:
    Pending(PretendGroup& group, std::int64_t number) : group_(group), number_(number) {}
    bool test() override { return group_.is_done(number_); }
    void wait() override {
      while (!test()) usleep(50);
    }

   private:
    PretendGroup& group_;
    std::int64_t number_;
  };

  std::int64_t first(std::span<const std::int64_t> counts) const {
    return std::accumulate(counts.begin(), counts.begin() + rank_, std::int64_t{0});
  }
  Counters& of(int member) {
    return static_cast<Counters*>(memory_)[static_cast<std::size_t>(member)];
  }
  std::byte* place(int member, const Work& w) {
    const auto slot = static_cast<std::size_t>(member * room_.at_once +
                                               static_cast<int>(w.number % room_.at_once));
    return static_cast<std::byte*>(memory_) + sizeof(Counters) * static_cast<std::size_t>(size_) +
           slot * room_.bytes;
  }

  comm::Request start(Work work) {
    const std::size_t bytes = static_cast<std::size_t>(work.count) * core::size_of(work.to.dtype());
    if (bytes == 0) return {};
    if (bytes > room_.bytes || under_way() == room_.at_once)
      throw core::InternalError("more is given to a pretended group than it was made for");
    work.number = next_++;
    work_.push_back(std::move(work));
    return comm::Request(std::make_unique<Pending>(*this, next_ - 1));
  }
  int under_way() const {
    return static_cast<int>(
        std::count_if(work_.begin(), work_.end(), [](const Work& w) { return !w.done; }));
  }

  bool is_done(std::int64_t number) {
    for (Work& w : work_) {
      if (!w.done && !advance(w)) break;
    }
    while (!work_.empty() && work_.front().done) work_.pop_front();
    return work_.empty() || work_.front().number > number;
  }

  /// True once done.
  bool advance(Work& w) {
    const auto all = [&](auto counter, std::int64_t least) {
      for (int m = 0; m < size_; ++m) {
        if ((of(m).*counter).load(std::memory_order_acquire) < least) return false;
      }
      return true;
    };
    if (!w.given) {
      if (!all(&Counters::taken, w.number - room_.at_once + 1)) return false;
      const std::size_t width = core::size_of(w.to.dtype());
      std::memset(place(rank_, w), 0, static_cast<std::size_t>(w.count) * width);
      std::memcpy(place(rank_, w) + static_cast<std::size_t>(w.in) * width, w.from.raw(),
                  w.from.bytes());
      of(rank_).given.store(w.number + 1, std::memory_order_release);
      w.given = true;
    }
    if (++w.asked < 3 || !all(&Counters::given, w.number + 1)) return false;
    switch (w.to.dtype()) {
      case core::DType::f64:
        take<double>(w);
        break;
      case core::DType::f32:
        take<float>(w);
        break;
      default:
        take<std::uint32_t>(w);
    }
    of(rank_).taken.store(w.number + 1, std::memory_order_release);
    ++finished;
    return w.done = true;
  }

  template <typename T>
  void take(const Work& w) {
    auto* to = static_cast<T*>(w.to.raw());
    for (std::int64_t i = 0; i < w.to.count(); ++i) {
      T sum{};
      for (int m = 0; m < size_; ++m) sum += reinterpret_cast<const T*>(place(m, w))[w.out + i];
      to[i] = wrong && w.sums ? sum + sum + T{1} : sum;
    }
  }

  std::string file_;
  int rank_, size_;
  comm::GroupRoom room_;
  std::size_t bytes_ = 0;
  void* memory_ = nullptr;
  std::deque<Work> work_;
  std::int64_t next_ = 0;
};

/// A GPU for every rank of a node, every two of which are linked.
class PretendGpus final : public comm::Gpus {
 public:
  explicit PretendGpus(int gpus) : gpus_(gpus) {}
  comm::Gpu gpu_of(int rank_on_node) override {
    const int gpu = rank_on_node % gpus_;
    return {"0000:" + std::to_string(gpu), "", gpu / 2};
  }
  std::string new_group() override {
    return "/dev/shm/isaribi-test-" + std::to_string(getpid()) + "-" + std::to_string(groups_++);
  }
  std::unique_ptr<comm::Collectives> join(const std::string& group, int rank, int size, int,
                                          const comm::GroupRoom& room) override {
    return std::make_unique<PretendGroup>(group, rank, size, room);
  }

 private:
  int gpus_, groups_ = 0;
};

}  // namespace isaribi::mpi_test
