// SPDX-License-Identifier: MIT
// isaribi report: figures and one page of a run, or of several in comparison.
#include <filesystem>
#include <memory>

#include "app/verbs/verbs.hpp"
#include "io/report/page.hpp"

namespace isaribi::app {
namespace {

struct ReportOptions {
  std::vector<std::string> runs;
  std::string output;
};

}  // namespace

void add_report(CLI::App& app, Command& chosen) {
  auto options = std::make_shared<ReportOptions>();
  CLI::App* verb = add_verb(app, "report", "Draws the curves of a run, or of several together",
                            "isaribi report runs/fashion_mnist_small_cnn_sgd\n"
                            "isaribi report runs/mnist_lenet_sgd runs/mnist_lenet_adamw --output "
                            "comparison");
  verb->add_option("runs", options->runs, "Run folders")->required();
  verb->add_option(
      "--output", options->output,
      "Folder for index.html, the PNG figures and metrics.csv; default: report/ of the "
      "first run");
  verb->callback([&chosen, options] {
    chosen = {.verb = "report", .run = [options](Session& session) {
                const std::string folder =
                    options->output.empty()
                        ? (std::filesystem::path(options->runs.front()) / "report").string()
                        : options->output;
                for (const std::string& file : report::write_report(options->runs, folder))
                  session.log.info("{}", file);
                return core::ExitCode::ok;
              }};
  });
}

}  // namespace isaribi::app
