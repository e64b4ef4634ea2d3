// SPDX-License-Identifier: MIT
// MD5 of the uncompressed files, computed from the published archives.
#include "io/convert/known.hpp"

#include <array>

#include "core/error.hpp"
#include "io/convert/convert.hpp"

namespace isaribi::convert {
namespace {

struct Entry {
  const char *checksum, *title, *names;
};

constexpr std::array<Entry, 8> kEntries = {{
    {"md5:6bbc9ace898e44ae57da46a324031adb", "MNIST, training part", "mnist"},
    {"md5:a25bea736e30d166cdddb491f175f624", "MNIST, training part", "mnist"},
    {"md5:2646ac647ad5339dbf082846283269ea", "MNIST, test part", "mnist"},
    {"md5:27ae3e4e09519cfbb04c329615203637", "MNIST, test part", "mnist"},
    {"md5:f4a8712d7a061bf5bd6d2ca38dc4d50a", "Fashion-MNIST, training part", "fashion-mnist"},
    {"md5:9018921c3c673c538a1fc5bad174d6f9", "Fashion-MNIST, training part", "fashion-mnist"},
    {"md5:8181f5470baa50b63fa0f6fddb340f0a", "Fashion-MNIST, test part", "fashion-mnist"},
    {"md5:15d484375f8d13e6eb1aabb0c3f46965", "Fashion-MNIST, test part", "fashion-mnist"},
}};

}  // namespace

std::optional<KnownFile> recognise(const std::string& checksum) {
  for (const Entry& entry : kEntries) {
    if (checksum == entry.checksum) return KnownFile{entry.title, entry.names};
  }
  return std::nullopt;
}

std::vector<std::string> class_names_of(const std::string& preset) {
  if (preset == "mnist") return {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
  if (preset == "fashion-mnist")
    return {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
            "Sandal",      "Shirt",   "Sneaker",  "Bag",   "Ankle boot"};
  if (preset == "cifar10")
    return {"airplane", "automobile", "bird",  "cat",  "deer",
            "dog",      "frog",       "horse", "ship", "truck"};
  throw core::UsageError("no class names are known for \"" + preset + "\"",
                         "known are mnist, fashion-mnist and cifar10");
}

}  // namespace isaribi::convert
