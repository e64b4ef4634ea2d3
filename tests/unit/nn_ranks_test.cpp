// SPDX-License-Identifier: MIT
// nn: the global batch split over ranks gives the numbers of one rank: synchronised batch norm,
// dropout by sample id, gradients that add up. Ranks are threads of this process.
#include <barrier>
#include <thread>

#include "nn_support.hpp"

using namespace isaribi;
using namespace isaribi::testing;

namespace {

/// What the threads of one group share.
struct Board {
  explicit Board(int size) : barrier(size), parts(static_cast<std::size_t>(size)) {}
  std::barrier<> barrier;
  std::vector<core::Tensor> parts;
};

/// The part of a Communicator that layers use, between threads.
class ThreadCommunicator final : public comm::Communicator {
 public:
  ThreadCommunicator(Board& board, int rank) : board_(board), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(board_.parts.size()); }
  std::string host() const override { return "thread"; }
  void barrier() override { board_.barrier.arrive_and_wait(); }
  void all_reduce(core::Tensor in_place, comm::ReduceOp) override {
    board_.parts[static_cast<std::size_t>(rank_)] = in_place;
    barrier();
    std::vector<double> sum(static_cast<std::size_t>(in_place.count()), 0.0);
    for (const core::Tensor& part : board_.parts) {
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += part.data<double>()[i];
    }
    barrier();
    std::copy(sum.begin(), sum.end(), in_place.data<double>());
    barrier();
  }
  void broadcast(std::span<std::byte>, int) override { unused(); }
  comm::Request start_all_reduce(core::Tensor, comm::ReduceOp) override { unused(); }
  void all_reduce(std::span<std::int64_t>, comm::ReduceOp) override { unused(); }
  void all_gather(std::span<const std::byte>, std::span<std::byte>) override { unused(); }
  comm::Request start_all_to_all_v(core::Tensor, std::span<const std::int64_t>, core::Tensor,
                                   std::span<const std::int64_t>) override {
    unused();
  }
  std::unique_ptr<Communicator> split_node() override { unused(); }
  std::unique_ptr<Communicator> split(int, int) override { unused(); }
  std::unique_ptr<Communicator> duplicate() override { unused(); }
  std::unique_ptr<comm::SharedWindow> make_shared_window(std::size_t) override { unused(); }
  [[noreturn]] void abort(core::ExitCode) override { unused(); }
  void* native_handle() const override { return nullptr; }
  std::recursive_mutex* calls() override { return nullptr; }
  void publish_calls(comm::CallBoard*) override {}

 private:
  comm::Request do_start_reduce_scatter_v(core::Tensor, std::vector<std::int64_t>,
                                          core::Tensor) override {
    unused();
  }
  comm::Request do_start_all_gather_v(core::Tensor, std::vector<std::int64_t>,
                                      core::Tensor) override {
    unused();
  }
  [[noreturn]] static void unused() { throw core::InternalError("not in this test"); }
  Board& board_;
  int rank_;
};

/// What one rank, or all together, arrive at.
struct Result {
  std::vector<double> output, gradient, state, evaluated;
};

std::vector<double> values_of(const core::Tensor& t) {
  return {t.data<double>(), t.data<double>() + t.count()};
}

void append(std::vector<double>& list, const core::Tensor& t) {
  list.insert(list.end(), t.data<double>(), t.data<double>() + t.count());
}

Result run_rank(const nn::ModelSpec& spec, std::int64_t begin, std::int64_t end,
                comm::Communicator* comm) {
  const auto backend = reference_backend();
  constexpr std::int64_t batch = 7;
  nn::Graph graph(spec, {6, 6, 2}, *backend,
                  {.max_batch = batch, .type = core::DType::f64, .seed = 9});
  const core::Tensor x = random_tensor({batch, 6, 6, 2}, 1);
  const core::Tensor c = random_tensor(graph.output_sample_shape().batched(batch), 2);
  nn::Pass pass = training_pass(batch);
  pass.ids = ids(batch).rows(begin, end);
  pass.comm = comm;
  Result result;
  for (int step = 0; step < 2; ++step) {  // twice: views and buffers are reused
    result.output = values_of(graph.forward(pass, x.rows(begin, end)));
    graph.backward(pass, c.rows(begin, end), false, nullptr);
  }
  result.gradient = values_of(graph.flat_gradient());
  for (const core::NamedTensor& s : graph.state()) append(result.state, s.tensor);
  pass.training = false;
  result.evaluated = values_of(graph.forward(pass, x.rows(begin, end)));
  return result;
}

nn::ModelSpec residual_model() {
  return model({layer("conv", {{"channels", 4}, {"kernel", 3}, {"pad", 1}}), layer("batch_norm"),
                layer("relu", {}, "r"), layer("conv", {{"channels", 4}, {"kernel", 3}, {"pad", 1}}),
                layer("batch_norm", {}, "b"), layer("add", {}, "s", {"b", "r"}), layer("relu"),
                layer("dropout", {{"p", 0.25}}), layer("global_average_pool"),
                layer("linear", {{"features", 5}}), layer("batch_norm"),
                layer("linear", {{"features", 2}})});
}

void check_split(const std::vector<std::int64_t>& cuts) {
  const Result one = run_rank(residual_model(), 0, 7, nullptr);
  const int ranks = static_cast<int>(cuts.size()) - 1;
  Board board(ranks);
  std::vector<Result> parts(static_cast<std::size_t>(ranks));
  std::vector<std::thread> threads;
  for (int r = 0; r < ranks; ++r) {
    threads.emplace_back([&, r] {
      ThreadCommunicator comm(board, r);
      const auto k = static_cast<std::size_t>(r);
      parts[k] = run_rank(residual_model(), cuts[k], cuts[k + 1], &comm);
    });
  }
  for (std::thread& t : threads) t.join();

  std::vector<double> output, evaluated, gradient(one.gradient.size(), 0.0);
  for (const Result& part : parts) {
    output.insert(output.end(), part.output.begin(), part.output.end());
    evaluated.insert(evaluated.end(), part.evaluated.begin(), part.evaluated.end());
    for (std::size_t i = 0; i < gradient.size(); ++i) gradient[i] += part.gradient[i];
    CHECK(part.state == parts[0].state);  // bit for bit
  }
  const auto close = [](const std::vector<double>& a, const std::vector<double>& b) {
    REQUIRE(a.size() == b.size());
    for (std::size_t i = 0; i < a.size(); ++i)
      REQUIRE(a[i] == Approx(b[i]).epsilon(1e-10).margin(1e-12));
  };
  close(output, one.output);
  close(evaluated, one.evaluated);
  close(gradient, one.gradient);
  close(parts[0].state, one.state);
}

}  // namespace

TEST_CASE("two ranks with unequal shares equal one") {
  check_split({0, 3, 7});
}
TEST_CASE("a rank without samples takes part") {
  check_split({0, 0, 7, 7});
}

TEST_CASE("without synchronisation each rank has its own statistics") {
  nn::ModelSpec spec = residual_model();
  spec.batch_norm_sync = false;
  const Result half = run_rank(spec, 0, 3, nullptr);
  Board board(1);
  ThreadCommunicator comm(board, 0);
  CHECK(run_rank(spec, 0, 3, &comm).output == half.output);
  const Result one = run_rank(residual_model(), 0, 7, nullptr);
  CHECK(std::abs(half.output[0] - one.output[0]) > 1e-6);
}

TEST_CASE("running statistics follow the definition") {
  const auto backend = reference_backend();
  nn::ModelSpec spec = model({layer("batch_norm", {}, "n"), layer("linear", {{"features", 1}})});
  spec.batch_norm_momentum = 0.25;
  nn::Graph graph(spec, {1, 2, 1}, *backend, {.max_batch = 2, .type = core::DType::f64});
  core::Tensor x({2, 1, 2, 1}, core::DType::f64);
  const double values[] = {1, 2, 3, 6};  // mean 3, biased variance 3.5, unbiased 14 / 3
  std::copy(values, values + 4, x.data<double>());
  graph.forward(training_pass(2), x);
  const auto state = graph.state();
  REQUIRE(state.size() == 2);
  CHECK(state[0].name == "n/running_mean");
  CHECK(state[1].name == "n/running_variance");
  CHECK(state[0].tensor.data<double>()[0] == Approx(0.25 * 3));
  CHECK(state[1].tensor.data<double>()[0] == Approx(0.75 + 0.25 * 14 / 3));
}
