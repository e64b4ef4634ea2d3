// SPDX-License-Identifier: MIT
#include "io/checkpoint/format.hpp"

#include <fmt/format.h>
#include <xxhash.h>

#include <exception>
#include <functional>
#include <optional>

#include "comm/agreement.hpp"
#include "core/error.hpp"
#include "io/checkpoint/checkpoint.hpp"
#include "io/hdf5/file.hpp"

namespace isaribi::checkpoint {
namespace {

constexpr const char* kSchema = "isaribi-checkpoint";
constexpr const char* kTensors = "state";
constexpr const char* kChecksum = "xxh3";

std::string hash(const std::string& head, const void* data, std::size_t bytes) {
  const XXH64_hash_t seed = XXH3_64bits(head.data(), head.size());
  return fmt::format("{:016x}", XXH3_64bits_withSeed(data, bytes, seed));
}

std::string values_checksum(const std::map<std::string, Value>& values) {
  std::string text;
  for (const auto& [name, value] : values) {
    text +=
        name + "=" + std::visit([](const auto& v) { return fmt::format("{}", v); }, value) + "\n";
  }
  return hash("", text.data(), text.size());
}

// A failure of one rank inside a collective write must reach the others before they enter the next
// collective call.
void together(comm::Communicator& comm, const std::function<void()>& work) {
  std::exception_ptr error;
  try {
    work();
  } catch (...) {
    error = std::current_exception();
  }
  comm::run_together(comm, [&] {
    if (error) std::rethrow_exception(error);
  });
}

void set_values(hdf5::Group group, const std::map<std::string, Value>& values) {
  for (const auto& [name, value] : values) {
    std::visit([&, &key = name](const auto& v) { group.set(key, v); }, value);
  }
}

std::map<std::string, Value> get_values(const hdf5::Group& group) {
  std::map<std::string, Value> values;
  for (const std::string& name : group.attribute_names()) {
    const hdf5::Attribute a = group.attribute(name);
    if (const auto* i = std::get_if<std::int64_t>(&a)) values[name] = *i;
    if (const auto* d = std::get_if<double>(&a)) values[name] = *d;
    if (const auto* s = std::get_if<std::string>(&a)) values[name] = *s;
  }
  return values;
}

void write_tensor(hdf5::File& file, const core::NamedTensor& t, comm::Communicator& comm) {
  const std::int64_t count = t.tensor.count();
  const std::int64_t begin = count * comm.rank() / comm.size();
  const std::int64_t end = count * (comm.rank() + 1) / comm.size();
  hdf5::Dataset dataset =
      file.create_dataset(std::string(kTensors) + "/" + t.name, t.tensor.shape(), t.tensor.dtype());
  dataset.set(kChecksum, checksum(t));
  dataset.write_range(begin, t.tensor.slice(begin, core::Shape{end - begin}));
}

void check_schema(const hdf5::File& file, const std::string& path) {
  if (!file.has_attribute("schema") || file.attribute_as<std::string>("schema") != kSchema) {
    throw core::DataError(path, "is an HDF5 file, but not a checkpoint of isaribi",
                          "checkpoints stand in <run folder>/checkpoints");
  }
  const auto version = file.attribute_as<std::int64_t>("schema_version");
  if (version > kSchemaVersion) {
    throw core::DataError(path,
                          fmt::format("has checkpoint schema {}, this program reads up to {}",
                                      version, kSchemaVersion),
                          "it was written by a newer isaribi: use that one");
  }
}

void require_checksum(const std::string& path, const core::NamedTensor& t,
                      const std::string& want) {
  if (checksum(t) == want) return;
  throw core::DataError(path,
                        "tensor " + t.name + " does not match its checksum: the file is damaged",
                        "an older checkpoint of the same folder is used when there is one");
}

// Names of all datasets below `group`, depth first, in the order of HDF5 (sorted).
void collect(const hdf5::Group& group, const std::string& prefix, std::vector<std::string>& out) {
  for (const std::string& child : group.children()) {
    const std::string name = prefix.empty() ? child : prefix + "/" + child;
    if (group.is_group(child)) {
      collect(group.group(child), name, out);
    } else {
      out.push_back(name);
    }
  }
}

core::NamedTensor read_tensor(const hdf5::Group& tensors, const std::string& name) {
  return {name, tensors.dataset(name).read()};
}

}  // namespace

std::string checksum(const core::NamedTensor& t) {
  const std::string head =
      t.name + std::string(core::name_of(t.tensor.dtype())) + t.tensor.shape().text();
  return hash(head, t.tensor.raw(), t.tensor.bytes());
}

std::string checksum(const State& state) {
  std::string all = values_checksum(state.values);
  for (const core::NamedTensor& t : state.tensors) all += checksum(t);
  return hash("", all.data(), all.size());
}

void write_file(const std::string& path, const State& state, comm::Communicator& comm) {
  std::optional<hdf5::File> file;
  together(comm, [&] {
    file.emplace(hdf5::File::create(path, comm));
    file->set("schema", std::string(kSchema));
    file->set("schema_version", std::int64_t{kSchemaVersion});
    set_values(file->create_group("values"), state.values);
    set_values(file->create_group("notes"), state.notes);
    file->set("values_xxh3", values_checksum(state.values));
    file->create_group(kTensors);
  });
  for (const core::NamedTensor& t : state.tensors)
    together(comm, [&] { write_tensor(*file, t, comm); });
  together(comm, [&] { file->close(); });
}

State read_file(const std::string& path) {
  const hdf5::File file = hdf5::File::open(path);
  check_schema(file, path);
  State state;
  state.values = get_values(file.group("values"));
  state.notes = get_values(file.group("notes"));
  if (values_checksum(state.values) != file.attribute_as<std::string>("values_xxh3")) {
    throw core::DataError(path, "its values do not match their checksum: the file is damaged");
  }
  const hdf5::Group tensors = file.group(kTensors);
  std::vector<std::string> names;
  collect(tensors, "", names);
  for (const std::string& name : names) {
    state.tensors.push_back(read_tensor(tensors, name));
    require_checksum(path, state.tensors.back(),
                     tensors.dataset(name).attribute_as<std::string>(kChecksum));
  }
  return state;
}

void verify_file(const std::string& path, const State& state, std::size_t first,
                 std::size_t stride) {
  const hdf5::File file = hdf5::File::open(path);
  check_schema(file, path);
  const hdf5::Group tensors = file.group(kTensors);
  for (std::size_t i = first; i < state.tensors.size(); i += stride) {
    require_checksum(path, read_tensor(tensors, state.tensors[i].name), checksum(state.tensors[i]));
  }
}

}  // namespace isaribi::checkpoint
