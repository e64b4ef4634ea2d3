// SPDX-License-Identifier: MIT
// isaribi convert: published data sets become HDF5 files of our schema.
#include "io/convert/convert.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <memory>

#include "app/verbs/verbs.hpp"
#include "app/version.hpp"
#include "build_info.hpp"
#include "io/report/files.hpp"

namespace isaribi::app {
namespace fs = std::filesystem;
namespace {

struct ConvertOptions {
  std::string images, labels, folder, output, preset;
  bool force = false;
};

/// Progress: one line that grows on a terminal, quarters elsewhere.
std::function<void(std::int64_t, std::int64_t)> progress_lines(core::Log& log) {
  if (!log.speaks()) return {};
  auto last = std::make_shared<std::int64_t>(0);
  return [last, &log](std::int64_t done, std::int64_t total) {
    const std::int64_t quarter = total > 0 ? 4 * done / total : 4;
    if (quarter == *last || total < 20000) return;
    *last = quarter;
    log.info("  {} of {} samples", done, total);
  };
}

convert::Options options_of(const ConvertOptions& o, Session& session) {
  convert::Options options;
  options.replace = o.force;
  if (!o.preset.empty()) options.class_names = convert::class_names_of(o.preset);
  options.creator = fmt::format("isaribi {}", build_info::version);
  options.progress = progress_lines(session.log);
  return options;
}

void say(const convert::Summary& s, Session& session) {
  session.log.info("{}: {} samples {}, {} classes{}{}", s.path, s.samples, s.sample.text(),
                   s.classes, s.recognised.empty() ? "" : ", recognised as " + s.recognised,
                   s.digest.empty() ? "" : ", digest " + s.digest.substr(0, 16));
}

void make_folder(const std::string& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) report::raise_errno(folder, "create the folder", error.value());
}

/// train.h5 and test.h5 in the folder --output.
template <typename Convert>
core::ExitCode both_parts(const ConvertOptions& o, Session& session, const Convert& convert_part) {
  const convert::Options options = options_of(o, session);
  make_folder(o.output);
  for (const char* part : {"train", "test"}) {
    const std::string out = (fs::path(o.output) / (std::string(part) + ".h5")).string();
    session.log.info("{}: {}", o.folder, part);
    say(convert_part(part, out, options), session);
  }
  return core::ExitCode::ok;
}

core::ExitCode convert_idx(const ConvertOptions& o, Session& session) {
  if (o.folder.empty() == o.images.empty())
    throw core::UsageError("command line: convert idx takes either a folder or --images",
                           "see isaribi convert idx --help");
  if (!o.folder.empty()) {
    return both_parts(
        o, session,
        [&](const std::string& part, const std::string& out, const convert::Options& options) {
          return convert::convert_idx(convert::find_idx(o.folder, part), out, options);
        });
  }
  const fs::path parent = fs::path(o.output).parent_path();
  if (!parent.empty()) make_folder(parent.string());
  say(convert::convert_idx({o.images, o.labels}, o.output, options_of(o, session)), session);
  return core::ExitCode::ok;
}

core::ExitCode convert_png(const ConvertOptions& o, Session& session) {
  const fs::path parent = fs::path(o.output).parent_path();
  if (!parent.empty()) make_folder(parent.string());
  say(convert::convert_png_folders(o.folder, o.output, options_of(o, session)), session);
  return core::ExitCode::ok;
}

core::ExitCode convert_cifar(convert::Cifar kind, const ConvertOptions& o, Session& session) {
  return both_parts(
      o, session,
      [&](const std::string& part, const std::string& out, const convert::Options& options) {
        return convert::convert_cifar(kind, o.folder, part, out, options);
      });
}

using Work = core::ExitCode (*)(const ConvertOptions&, Session&);

CLI::App* add_source(CLI::App& parent, Command& chosen, const std::string& name,
                     const std::string& summary, const std::string& example,
                     std::shared_ptr<ConvertOptions> options, Work work) {
  CLI::App* source = add_verb(parent, name, summary, example);
  source->add_flag("--force", options->force, "Replace an output file that exists");
  source->callback([&chosen, options, work] {
    chosen = {.verb = "convert",
              .run = [options, work](Session& session) { return work(*options, session); }};
  });
  return source;
}

}  // namespace

void add_convert(CLI::App& app, Command& chosen) {
  CLI::App* verb =
      add_verb(app, "convert", "Makes HDF5 data sets from IDX, CIFAR or folders of PNG images",
               "isaribi convert idx /usr/share/datasets/fashion-mnist --output data/fashion_mnist\n"
               "isaribi convert cifar10 cifar-10-batches-bin --output data/cifar10\n"
               "isaribi convert png my_images --output data/mine.h5");
  verb->require_subcommand(1);

  auto idx = std::make_shared<ConvertOptions>();
  CLI::App* source = add_source(
      *verb, chosen, "idx", "The format of MNIST and Fashion-MNIST, plain or gzip",
      "isaribi convert idx /usr/share/datasets/fashion-mnist --output data/fashion_mnist\n"
      "isaribi convert idx --images a-images-idx3-ubyte.gz --labels a-labels-idx1-ubyte.gz "
      "--output a.h5",
      idx, convert_idx);
  source->add_option("folder", idx->folder,
                     "Folder with the four files under their usual names; writes train.h5 and "
                     "test.h5 into the folder --output");
  source->add_option("--images", idx->images, "One file of images instead");
  source->add_option("--labels", idx->labels, "Its labels; without: a set without labels");
  source->add_option("--output", idx->output, "Folder, or file.h5 with --images")->required();
  source->add_option("--classes", idx->preset,
                     "Class names: mnist, fashion-mnist, cifar10; default: recognised by checksum");

  auto ten = std::make_shared<ConvertOptions>();
  source = add_source(*verb, chosen, "cifar10", "The extracted binary archive of CIFAR-10",
                      "isaribi convert cifar10 cifar-10-batches-bin --output data/cifar10", ten,
                      [](const ConvertOptions& o, Session& s) {
                        return convert_cifar(convert::Cifar::cifar10, o, s);
                      });
  source->add_option("folder", ten->folder, "cifar-10-batches-bin")->required();
  source->add_option("--output", ten->output, "Folder for train.h5 and test.h5")->required();

  auto hundred = std::make_shared<ConvertOptions>();
  source = add_source(*verb, chosen, "cifar100", "The extracted binary archive of CIFAR-100",
                      "isaribi convert cifar100 cifar-100-binary --output data/cifar100", hundred,
                      [](const ConvertOptions& o, Session& s) {
                        return convert_cifar(convert::Cifar::cifar100, o, s);
                      });
  source->add_option("folder", hundred->folder, "cifar-100-binary")->required();
  source->add_option("--output", hundred->output, "Folder for train.h5 and test.h5")->required();

  auto png = std::make_shared<ConvertOptions>();
  source = add_source(*verb, chosen, "png", "One folder of PNG images per class",
                      "isaribi convert png my_images --output data/mine.h5", png, convert_png);
  source->add_option("folder", png->folder, "Folder of folders; their names are the classes")
      ->required();
  source->add_option("--output", png->output, "file.h5")->required();
}

}  // namespace isaribi::app
