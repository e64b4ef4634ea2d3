// SPDX-License-Identifier: MIT
#include "comm/serial_communicator.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <mutex>

namespace isaribi::comm {
namespace {

class HeapWindow final : public SharedWindow {
 public:
  explicit HeapWindow(std::size_t bytes)
      : bytes_(bytes), memory_({static_cast<std::int64_t>(bytes)}, core::DType::u8) {}
  std::byte* data() override { return static_cast<std::byte*>(memory_.raw()); }
  std::size_t bytes() const override { return bytes_; }
  void fence() override {}

 private:
  std::size_t bytes_;
  core::Tensor memory_;
};

class SerialCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::string host() const override {
    std::array<char, 256> name{};
    if (gethostname(name.data(), name.size() - 1) != 0) return "localhost";
    return name.data();
  }
  void barrier() override {}
  void broadcast(std::span<std::byte>, int) override {}
  using Communicator::all_reduce;
  void all_reduce(core::Tensor, ReduceOp) override {}
  void all_reduce(std::span<std::int64_t>, ReduceOp) override {}
  Request start_all_reduce(core::Tensor, ReduceOp) override { return {}; }
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    std::copy(mine.begin(), mine.end(), all.begin());
  }
  Request start_all_to_all_v(core::Tensor send, std::span<const std::int64_t>, core::Tensor receive,
                             std::span<const std::int64_t>) override {
    if (send.bytes() > 0) std::memcpy(receive.raw(), send.raw(), send.bytes());
    return {};
  }
  std::unique_ptr<Communicator> split_node() override { return make_serial_communicator(); }
  std::unique_ptr<Communicator> split(int, int) override { return make_serial_communicator(); }
  std::unique_ptr<Communicator> duplicate() override { return make_serial_communicator(); }
  std::unique_ptr<SharedWindow> make_shared_window(std::size_t bytes) override {
    return std::make_unique<HeapWindow>(bytes);
  }
  [[noreturn]] void abort(core::ExitCode code) override {
    std::fflush(nullptr);
    _exit(static_cast<int>(code));
  }
  void* native_handle() const override { return nullptr; }
  void publish_calls(CallBoard*) override {}
  std::recursive_mutex* calls() override { return &calls_; }

 private:
  static Request copy(const core::Tensor& from, const core::Tensor& to) {
    if (from.raw() != to.raw() && from.bytes() > 0) std::memcpy(to.raw(), from.raw(), from.bytes());
    return {};
  }
  Request do_start_reduce_scatter_v(core::Tensor all, std::vector<std::int64_t>,
                                    core::Tensor mine) override {
    return copy(all, mine);
  }
  Request do_start_all_gather_v(core::Tensor mine, std::vector<std::int64_t>,
                                core::Tensor all) override {
    return copy(mine, all);
  }

  std::recursive_mutex calls_;
};

}  // namespace

std::unique_ptr<Communicator> make_serial_communicator() {
  return std::make_unique<SerialCommunicator>();
}

}  // namespace isaribi::comm
