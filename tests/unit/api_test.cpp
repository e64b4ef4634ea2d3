// SPDX-License-Identifier: MIT
// The interface in front of all backends: checks of operands, the registry, modules.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <string_view>

#include "backends/api/module.hpp"
#include "backends/api/registry.hpp"
#include "backends/reference/backend.hpp"
#include "backends/reference/register.hpp"
#include "catch.hpp"
#include "core/error.hpp"

using namespace isaribi;
using core::DType;
using core::Tensor;

namespace {

Tensor f32(core::Shape s) {
  return Tensor::zeros(s, DType::f32);
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// The message of the UsageError that `call` throws; "" when it throws none.
template <typename Call>
std::string message(const Call& call) {
  try {
    call();
  } catch (const core::UsageError& error) {
    return error.what();
  }
  return "";
}

/// A backend entry that makes a reference backend under another name.
api::Entry entry(const std::string& name, int priority, const std::string& why_unusable = "",
                 const std::string& fallback = "reference") {
  api::Entry e;
  e.name = name;
  e.priority = priority;
  e.fallback = fallback;
  e.why_unusable = [why_unusable] { return why_unusable; };
  e.create = [](const api::Options&, std::unique_ptr<api::Backend> fallback_backend,
                core::Log&) -> std::unique_ptr<api::Backend> {
    REQUIRE(fallback_backend != nullptr);
    return std::make_unique<reference::ReferenceBackend>();
  };
  return e;
}

const std::string kModules = ISARIBI_TEST_MODULES;  // folder of the modules built for this test

std::string why_unusable(const std::string& file) {
  setenv("ISARIBI_MODULE_PATH", ("/nonexistent:" + kModules).c_str(), 1);
  api::Registry registry;
  api::Entry e;
  e.name = "module";
  api::add_module(registry, e, file);
  return registry.entries()[0].why_unusable();
}

}  // namespace

TEST_CASE("names of operations are distinct and in order") {
  CHECK(api::all_ops().size() == static_cast<std::size_t>(api::kOpCount));
  std::set<std::string_view> names;
  for (const api::Op op : api::all_ops()) names.insert(api::name_of(op));
  CHECK(names.size() == api::all_ops().size());
  CHECK(names.count("") == 0);
  CHECK(api::name_of(api::Op::conv_forward) == "conv_forward");
  CHECK(api::name_of(api::Op::dropout) == "dropout");
  CHECK(api::name_of(api::Op::unpack_triangle) == "unpack_triangle");
  CHECK(api::name_of(api::Activation::swish) == "swish");
}

TEST_CASE("a wrong shape names the operation, the operand and both shapes") {
  reference::ReferenceBackend backend;
  const auto conv = [&](core::Shape x, core::Shape w, core::Shape y, api::ConvGeometry g = {}) {
    return message([&] { backend.conv().forward({f32(x), f32(w), {}, f32(y), g}); });
  };
  CHECK(conv({2, 5, 5, 3}, {4, 3, 3, 3}, {2, 3, 3, 4}).empty());
  CHECK(conv({0, 5, 5, 3}, {4, 3, 3, 3}, {0, 3, 3, 4}).empty());  // an empty batch is legal
  const std::string text = conv({2, 5, 5, 3}, {4, 3, 3, 3}, {2, 3, 4, 4});
  CHECK(contains(text, "conv_forward"));
  CHECK(contains(text, "operand y"));
  CHECK(contains(text, "[2, 3, 3, 4]"));
  CHECK(contains(text, "[2, 3, 4, 4]"));
  CHECK(contains(conv({2, 5, 5, 3}, {4, 3, 3, 2}, {2, 3, 3, 4}), "operand w"));
  CHECK(contains(conv({5, 5, 3}, {4, 3, 3, 3}, {2, 3, 3, 4}), "4 dimensions"));
  CHECK(contains(conv({2, 2, 2, 3}, {4, 3, 3, 3}, {2, 1, 1, 4}, {2, 2}), "larger than"));
  CHECK(contains(conv({2, 5, 5, 3}, {4, 3, 3, 1}, {2, 3, 3, 4}, {1, 1, 0, 0, 0, 0, 1, 1, 3}),
                 "groups"));
  CHECK(contains(conv({2, 5, 5, 3}, {4, 3, 3, 3}, {2, 3, 3, 4}, {0, 1}), "stride"));
}

TEST_CASE("missing operands, wrong types and wrong options are refused") {
  reference::ReferenceBackend backend;
  const Tensor x = f32({2, 3}), d = Tensor::zeros({2, 3}, DType::f64);
  CHECK(contains(message([&] { backend.linear().forward({x, {}, {}, x}); }), "operand w"));
  CHECK(contains(message([&] { backend.elementwise().add({x, d, x}); }), "f64 [2, 3]"));
  CHECK(contains(message([&] {
                   backend.elementwise().add({x, x, x, api::Activation::tanh});
                 }),
                 "none or relu"));
  CHECK(contains(message([&] {
                   backend.random().dropout({x, Tensor::zeros({2}, DType::i32), x, 1.0});
                 }),
                 "[0, 1)"));
  api::SgdUpdate sgd{x, x, {}};
  sgd.momentum = 0.9;
  CHECK(contains(message([&] { backend.update().sgd(sgd); }), "velocity"));
  CHECK(contains(message([&] { backend.elementwise().argmax(f32({2, 0}), f32({2})); }), "argmax"));
  CHECK_THROWS_AS(backend.linalg().cholesky({x}), core::ShapeError);
  CHECK_THROWS_AS(backend.copy(x, d), core::ShapeError);
  // A gradient may be wider than its weight, never narrower.
  backend.update().sgd({x, d, {}});
  CHECK_THROWS_AS(backend.update().sgd({d, x, {}}), core::ShapeError);
}

TEST_CASE("factors of the wrong shape and draws out of range are refused") {
  reference::ReferenceBackend backend;
  api::PatchCovariance a;
  a.x = f32({2, 5, 5, 4});
  a.kh = a.kw = 3;
  a.a = f32({1, 36, 36});
  CHECK(message([&] { backend.factor().patch_covariance(a); }).empty());
  a.bias = true;
  CHECK(contains(message([&] { backend.factor().patch_covariance(a); }), "[1, 37, 37]"));
  a.bias = false;
  a.geometry.groups = 2;
  CHECK(contains(message([&] { backend.factor().patch_covariance(a); }), "[2, 18, 18]"));
  a.geometry.groups = 3;
  CHECK(contains(message([&] { backend.factor().patch_covariance(a); }), "groups"));
  a.geometry.groups = 1;
  a.kh = 6;
  CHECK(contains(message([&] { backend.factor().patch_covariance(a); }), "larger than"));
  api::FisherVectors f;
  f.z = f.dz = f32({2, 3});
  CHECK(contains(message([&] { backend.factor().fisher_vectors(f); }), "operand ids"));
  f.mode = api::FisherMode::column;
  f.index = 3;
  CHECK(contains(message([&] { backend.factor().fisher_vectors(f); }), "a column of z"));
  f.index = 2;
  CHECK(message([&] { backend.factor().fisher_vectors(f); }).empty());
  api::NormFisher n;
  n.x = n.dy = f32({2, 3});
  n.mean = n.inv_std = f32({3});
  n.sums = Tensor::zeros({2, 3}, DType::f64);
  CHECK(contains(message([&] { backend.factor().norm_fisher(n); }), "[3, 3]"));
  CHECK_THROWS_AS(backend.linalg().cholesky_inverse({f32({2, 3})}), core::ShapeError);
  std::vector<api::KroneckerProduct> product{{.left = f32({2, 2}),
                                              .x = f32({2, 3}),
                                              .right = f32({3, 3}),
                                              .half = f32({2, 3}),
                                              .y = f32({2, 3})}};
  CHECK_NOTHROW(backend.plan_kronecker(product));
  product[0].parts = {f32({2, 2})};  // a column is missing
  CHECK_THROWS_AS(backend.plan_kronecker(product), core::ShapeError);
  product[0].parts = {f32({2, 2}), f32({1, 1})};
  CHECK_THROWS_AS(backend.plan_kronecker(product), core::ShapeError);
  product[0].parts.clear();
  product[0].gather = {{f32({2, 2}), f32({2, 1})}, product[0].x};
  CHECK_NOTHROW(backend.plan_kronecker(product));
  product[0].gather.parts.pop_back();  // a column is missing
  CHECK(contains(message([&] { backend.plan_kronecker(product); }), "add up"));
  product[0].gather = {{f32({2, 2}), f32({2, 1})}, f32({2, 3})};  // another matrix
  CHECK(contains(message([&] { backend.plan_kronecker(product); }), "what is gathered"));
  product[0].gather = {};
  product[0].right = f32({2, 2});
  CHECK_THROWS_AS(backend.plan_kronecker(product), core::ShapeError);
}

TEST_CASE("windows that do not fit give no output") {
  api::ConvGeometry g;
  g.stride_h = 2;
  CHECK(g.out_h(2, 3) < 1);  // (2 - 3) / 2 + 1 would be 1
  CHECK(g.out_h(3, 3) == 1);
  api::PoolGeometry p;
  p.kernel_w = 3;
  CHECK(p.out_w(2) < 1);
}

TEST_CASE("auto takes the usable backend of the highest priority") {
  api::Registry registry;
  core::Log log(1);
  reference::register_backend(registry);
  registry.add(entry("kokkos", 10));
  registry.add(entry("cuda", 20, "built, not usable here: no driver"));
  CHECK(registry.create("auto", {}, log)->name() == "reference");
  const std::string unknown = message([&] { registry.create("cudda", {}, log); });
  CHECK(contains(unknown, "cudda"));
  CHECK(contains(unknown, "usable here: auto, reference, kokkos"));
  const std::string unusable = message([&] { registry.create("cuda", {}, log); });
  CHECK(contains(unusable, "backend cuda: built, not usable here: no driver"));
  CHECK(contains(unusable, "usable here"));
  CHECK_THROWS_AS(registry.add(entry("kokkos", 1)), core::InternalError);
}

TEST_CASE("a fallback that is missing or unusable is replaced by reference") {
  api::Registry registry;
  core::Log log(1);
  reference::register_backend(registry);
  registry.add(entry("kokkos", 10, "built without Kokkos"));
  registry.add(entry("simd", 20, "", "kokkos"));
  registry.add(entry("other", 5, "", "nowhere"));
  CHECK(registry.create("auto", {}, log) != nullptr);  // entry() requires a fallback
  CHECK(registry.create("other", {}, log) != nullptr);
}

TEST_CASE("modules say why they cannot be used") {
  CHECK(contains(why_unusable("isaribi_missing.so"), "is not in /nonexistent, " + kModules));
  CHECK(why_unusable("isaribi_module_good.so").empty());
  CHECK(contains(why_unusable("isaribi_module_no_driver.so"), "built, not usable here: no driver"));
  CHECK(contains(why_unusable("isaribi_module_no_driver.so"), "libcuda_absent.so"));
  CHECK(contains(why_unusable("isaribi_module_other_abi.so"), "another version"));
  CHECK(contains(why_unusable("isaribi_module_refuses.so"), "built, not usable here: no GPU"));
  CHECK(contains(why_unusable("isaribi_module_no_entry.so"), "not a module of isaribi"));
  const std::string garbage = kModules + "/isaribi_garbage.so";
  std::ofstream(garbage) << "not a shared object";
  CHECK(contains(why_unusable("isaribi_garbage.so"), "cannot be opened"));
  std::filesystem::remove(garbage);
}

TEST_CASE("a usable module makes its backend over the fallback") {
  setenv("ISARIBI_MODULE_PATH", kModules.c_str(), 1);
  api::Registry registry;
  core::Log log(1);
  reference::register_backend(registry);
  api::Entry e;
  e.name = "module";
  e.fallback = "reference";
  api::add_module(registry, e, "isaribi_module_good.so");
  CHECK(registry.create("module", {}, log)->name() == "reference");  // hands its fallback back
}
