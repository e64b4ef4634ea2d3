// SPDX-License-Identifier: MIT
// A temporary folder that all ranks of a test use; rank 0 makes and removes it.
#pragma once

#include <exception>
#include <memory>
#include <string>

#include "comm/communicator.hpp"
#include "tests/temporary_folder.hpp"

class SharedFolder {
 public:
  explicit SharedFolder(isaribi::comm::Communicator& world) : world_(world) {
    if (world.is_root()) folder_ = std::make_unique<TemporaryFolder>();
    path_ = world.broadcast_string(folder_ ? folder_->path() : "");
  }
  ~SharedFolder() {
    if (std::uncaught_exceptions() == exceptions_) world_.barrier();
  }
  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  isaribi::comm::Communicator& world_;
  std::unique_ptr<TemporaryFolder> folder_;
  std::string path_;
  int exceptions_ = std::uncaught_exceptions();
};
