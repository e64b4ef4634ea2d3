// SPDX-License-Identifier: MIT
// The register tiles of the Kokkos backend, of every instruction set that this CPU has, against
// plain loops. Sums of small integers are exact in any order.
#include <cmath>
#include <limits>
#include <vector>

#include "backends/kokkos/tile.hpp"
#include "catch.hpp"

using namespace isaribi::kokkos;

namespace {

constexpr std::int64_t kRow = 150;  // elements from one row of the operands to the next

template <typename T>
std::vector<T> integers(std::int64_t count, std::int64_t seed) {
  std::vector<T> values(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i)
    values[static_cast<std::size_t>(i)] = static_cast<T>((i * 7 + seed * 13) % 17 - 8);
  return values;
}

template <typename T>
T at(const std::vector<T>& values, std::int64_t i) {
  return values[static_cast<std::size_t>(i)];
}

template <typename T, typename Body>
void for_tiles(const Body& body) {
  const HostTiles<T> tiles = host_tiles<T>();
  REQUIRE(tiles.count >= 1);
  for (int i = 0; i < tiles.count; ++i) {
    INFO(tiles.list[i].isa);
    body(tiles.list[i]);
  }
}

template <typename T>
void check_multiply() {
  constexpr int kColumns = kHostPanelColumns<T>;
  for_tiles<T>([&](const HostTile<T>& tile) {
    for (const std::int64_t depth : {0, 1, 5, 64}) {
      const std::vector<T> a = integers<T>(depth * tile.panel_rows, 1),
                           b = integers<T>(depth * kColumns, 2);
      std::vector<T> acc(static_cast<std::size_t>(tile.panel_rows * kColumns), T(99));
      tile.multiply(a.data(), b.data(), depth, acc.data());
      int wrong = 0;
      for (int m = 0; m < tile.panel_rows; ++m) {
        for (int j = 0; j < kColumns; ++j) {
          T sum = 0;
          for (std::int64_t k = 0; k < depth; ++k)
            sum += at(a, k * tile.panel_rows + m) * at(b, k * kColumns + j);
          wrong += at(acc, m * kColumns + j) != sum;
        }
      }
      CHECK(wrong == 0);
    }
  });
}

template <typename T>
void check_run() {
  constexpr int kColumns = kHostTileColumns<T>;
  const Reduction r{
      .n0 = 2, .n1 = 3, .n2 = 5, .a0 = 40, .a1 = 11, .a2 = 2, .b0 = 300, .b1 = 90, .b2 = kColumns};
  const std::vector<T> x = integers<T>(kMaxTileRows * kRow, 1), b = integers<T>(600, 2);
  for_tiles<T>([&](const HostTile<T>& tile) {
    std::vector<const T*> a;
    for (int m = 0; m < tile.rows; ++m) a.push_back(x.data() + m * kRow);
    std::vector<T> acc(static_cast<std::size_t>(tile.rows * kColumns), T(3));
    tile.run(a.data(), b.data(), r, acc.data());
    int wrong = 0;
    for (int m = 0; m < tile.rows; ++m) {
      for (int j = 0; j < kColumns; ++j) {
        T sum = 3;
        for (std::int64_t i = 0; i < r.n0 * r.n1 * r.n2; ++i) {
          const std::int64_t i0 = i / (r.n1 * r.n2), i1 = i / r.n2 % r.n1, i2 = i % r.n2;
          sum += at(x, m * kRow + i0 * r.a0 + i1 * r.a1 + i2 * r.a2) *
                 at(b, i0 * r.b0 + i1 * r.b1 + i2 * r.b2 + j);
        }
        wrong += at(acc, m * kColumns + j) != sum;
      }
    }
    CHECK(wrong == 0);
  });
}

template <typename T>
void check_store() {
  constexpr int kColumns = kHostPanelColumns<T>;
  const std::vector<T> acc = integers<T>(kMaxPanelRows * kColumns, 3),
                       bias = integers<T>(kColumns, 4);
  for_tiles<T>([&](const HostTile<T>& tile) {
    for (int way = 0; way < 8; ++way) {
      const T beta = way & 1 ? T(2) : T(0);
      const bool has_bias = (way & 2) != 0, relu = (way & 4) != 0;
      // With beta = 0 what lies there is not read.
      std::vector<T> c = integers<T>(kMaxPanelRows * kRow, 5);
      if (beta == T(0)) c.assign(c.size(), std::numeric_limits<T>::quiet_NaN());
      const std::vector<T> before = c;
      const std::int64_t rows = tile.panel_rows - 1;
      tile.store(acc.data(),
                 {c.data(), kRow, rows, T(3), beta, has_bias ? bias.data() : nullptr, relu});
      int wrong = 0;
      for (std::int64_t i = 0; i < kMaxPanelRows * kRow; ++i) {
        const std::int64_t m = i / kRow, j = i % kRow;
        if (m >= rows || j >= kColumns) {  // left as it was
          wrong += at(c, i) != at(before, i) && at(before, i) == at(before, i);
          continue;
        }
        T value = T(3) * at(acc, m * kColumns + j) + (beta == T(0) ? T(0) : beta * at(before, i));
        if (has_bias) value += at(bias, j);
        wrong += at(c, i) != (relu && value < T(0) ? T(0) : value);
      }
      CHECK(wrong == 0);
    }
    std::vector<T> nan(static_cast<std::size_t>(kColumns), std::numeric_limits<T>::quiet_NaN()),
        c(nan.size());
    tile.store(nan.data(), {c.data(), kColumns, 1, T(1), T(0), nullptr, true});
    CHECK(std::isnan(c.front()));  // a rectifier does not hide it
  });
}

template <typename T>
void check_pack() {
  const std::vector<T> x = integers<T>(40 * kRow, 6);
  for_tiles<T>([&](const HostTile<T>& tile) {
    for (const std::int64_t width : {6, 12, 16, 32}) {
      for (const std::int64_t count : {std::int64_t{1}, std::int64_t{5}, width}) {
        for (const std::int64_t depth : {1, 7, 64, 70}) {
          if (count > width) continue;
          std::vector<T> panel(static_cast<std::size_t>(depth * width + 1), T(99));
          tile.pack(x.data(), kRow, count, depth, width, panel.data());
          int wrong = 0;
          for (std::int64_t k = 0; k < depth; ++k) {
            for (std::int64_t i = 0; i < width; ++i)
              wrong += at(panel, k * width + i) != (i < count ? at(x, i * kRow + k) : T(0));
          }
          CHECK(wrong == 0);
          CHECK(panel.back() == T(99));
        }
      }
    }
  });
}

}  // namespace

TEST_CASE("packed panels are multiplied") {
  check_multiply<float>();
  check_multiply<double>();
}

TEST_CASE("rows that lie anywhere are multiplied") {
  check_run<float>();
  check_run<double>();
}

TEST_CASE("tiles are scaled, added and rectified where they go") {
  check_store<float>();
  check_store<double>();
}

TEST_CASE("columns are packed into panels") {
  check_pack<float>();
  check_pack<double>();
}

TEST_CASE("sums go to totals in f64") {
  for_tiles<float>([](const HostTile<float>& tile) {
    const std::vector<float> acc = integers<float>(37, 1);
    std::vector<double> totals(38, 0.5);
    tile.add(acc.data(), totals.data(), 37);
    int wrong = totals.back() != 0.5;
    for (int i = 0; i < 37; ++i) wrong += at(totals, i) != 0.5 + static_cast<double>(at(acc, i));
    CHECK(wrong == 0);
  });
}
