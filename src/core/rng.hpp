// SPDX-License-Identifier: MIT
// Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, SC 2011). A draw is a
// pure function of (seed, purpose, two coordinates, index), so no result depends on the number of
// ranks or threads. Header-only and free of library templates: device code includes it too.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define ISARIBI_HOST_DEVICE __host__ __device__
#else
#define ISARIBI_HOST_DEVICE
#endif

namespace isaribi::core {

/// What a stream of random numbers is for; one value per independent use.
enum class Purpose : std::uint32_t {
  init = 1,       ///< coordinates: parameter id, 0
  shuffle = 2,    ///< epoch, 0
  augment = 3,    ///< epoch, global sample id
  dropout = 4,    ///< layer id and step, global sample id
  fisher = 5,     ///< step, global sample id
  posterior = 6,  ///< step and draw, parameter id
  test = 7,
};

/// Four 32-bit words.
struct Words4 {
  std::uint32_t w[4];
};

/// The raw bijection: 10 rounds of Philox4x32 on `counter` under `key`.
ISARIBI_HOST_DEVICE inline Words4 philox4x32(Words4 counter, std::uint32_t key0,
                                             std::uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * counter.w[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * counter.w[2];
    counter = {{static_cast<std::uint32_t>(p1 >> 32) ^ counter.w[1] ^ key0,
                static_cast<std::uint32_t>(p1),
                static_cast<std::uint32_t>(p0 >> 32) ^ counter.w[3] ^ key1,
                static_cast<std::uint32_t>(p0)}};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

/// A keyed stream addressed by index.
struct Philox {
  std::uint64_t seed = 0;
  std::uint32_t purpose = 0;
  std::uint64_t a = 0;  ///< first coordinate (epoch, step, parameter id)

  ISARIBI_HOST_DEVICE Philox(std::uint64_t seed_, Purpose purpose_, std::uint64_t a_ = 0)
      : seed(seed_), purpose(static_cast<std::uint32_t>(purpose_)), a(a_) {}

  /// Block `index` of coordinate b. (a, b) enter through key and counter so that streams never
  /// overlap: the key mixes seed, purpose and a by one Philox application, b and index are the
  /// counter.
  ISARIBI_HOST_DEVICE Words4 block(std::uint64_t b, std::uint64_t index) const {
    const Words4 k =
        philox4x32({{purpose, 0x49736172u, static_cast<std::uint32_t>(a),
                     static_cast<std::uint32_t>(a >> 32)}},
                   static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32));
    return philox4x32({{static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32),
                        static_cast<std::uint32_t>(b), static_cast<std::uint32_t>(b >> 32)}},
                      k.w[0], k.w[1]);
  }
  /// Word number `index` of coordinate b.
  ISARIBI_HOST_DEVICE std::uint32_t word(std::uint64_t b, std::uint64_t index) const {
    return block(b, index >> 2).w[index & 3];
  }
  /// Uniform in [0, 1) with 24 bits, exact in float.
  ISARIBI_HOST_DEVICE float uniform(std::uint64_t b, std::uint64_t index) const {
    return static_cast<float>(word(b, index) >> 8) * 0x1p-24f;
  }
};

}  // namespace isaribi::core
