// SPDX-License-Identifier: MIT
// Private to io/convert: published data sets recognised by checksum.
#pragma once

#include <optional>
#include <string>

namespace isaribi::convert {

struct KnownFile {
  std::string title;  ///< "MNIST, training images"
  std::string names;  ///< preset of class_names_of
};

/// The file whose uncompressed content has this checksum ("md5:<hex>").
std::optional<KnownFile> recognise(const std::string& checksum);

}  // namespace isaribi::convert
