// SPDX-License-Identifier: MIT
#include "app/command_line.hpp"

#include <fmt/format.h>

#include <cstdio>

#include "app/deck.hpp"
#include "app/run.hpp"
#include "app/verbs/verbs.hpp"
#include "app/version.hpp"
#include "nn/options.hpp"

namespace isaribi::app {
namespace {

constexpr const char* kFooter = R"(
Exit codes: 0 finished; 2 usage or deck; 3 data, checkpoint or file system; 4 numerical failure;
5 communication or hang; 75 stopped early with a good checkpoint: submit again; 1 a defect of isaribi.

Examples:
  isaribi convert idx /usr/share/datasets/fashion-mnist --output data/fashion_mnist
  mpirun -np 2 isaribi train inputs/fashion_mnist/small_cnn_sgd.toml
  isaribi report runs/fashion_mnist_small_cnn_sgd
  isaribi help deck)";

/// Standard output belongs to the first rank of a launcher.
void print(const std::string& text) {
  if (launcher_rank() == 0) std::fwrite(text.data(), 1, text.size(), stdout);
}

std::vector<std::string> verb_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(verb->get_name());
  return names;
}

/// Messages of the library as ours: cause, and a hint that leads on.
core::UsageError usage_error(const CLI::App& app, const CLI::ParseError& error, int argc,
                             char** argv) {
  const std::string first = argc > 1 ? argv[1] : "";
  const std::vector<std::string> verbs = verb_names(app);
  const bool known = std::find(verbs.begin(), verbs.end(), first) != verbs.end();
  if (first.empty()) return core::UsageError("no verb was given", "isaribi --help lists them");
  if (!known && !first.starts_with("-")) {
    const std::string near = nn::nearest_name(first, verbs);
    return core::UsageError(
        fmt::format("command line: unknown verb '{}'", first),
        (near.empty() ? "" : fmt::format("did you mean {}? ", near)) + "isaribi --help lists them");
  }
  std::string cause = error.what();
  while (!cause.empty() && (cause.back() == '\n' || cause.back() == ' ')) cause.pop_back();
  return core::UsageError(fmt::format("command line: {}", cause),
                          fmt::format("see isaribi {}--help", known ? first + " " : ""));
}

void add_help(CLI::App& app, Command& chosen) {
  CLI::App* help = add_verb(app, "help", "Explains the keys of a deck", "isaribi help deck");
  auto topic = std::make_shared<std::string>("deck");
  help->add_option("topic", *topic, "deck")->check(CLI::IsMember({"deck"}));
  help->callback([&chosen, topic] {
    chosen = {.verb = "help", .run = [](Session&) {
                print(deck_help());
                return core::ExitCode::ok;
              }};
  });
}

}  // namespace

CLI::App* add_verb(CLI::App& app, const std::string& name, const std::string& summary,
                   const std::string& examples) {
  CLI::App* verb = app.add_subcommand(name, summary);
  std::string text = "\nExamples:\n  ";
  for (const char c : examples) text += c == '\n' ? std::string("\n  ") : std::string(1, c);
  verb->footer(text);
  verb->get_formatter()->column_width(36);
  return verb;
}

std::optional<Command> parse_command_line(int argc, char** argv, const api::Registry& backends) {
  CLI::App app("isaribi: trains and runs convolutional networks on supercomputers", "isaribi");
  app.footer(kFooter);
  app.require_subcommand(1);
  app.fallthrough();
  app.get_formatter()->column_width(36);
  bool version = false, quiet = false, debug = false;
  app.add_flag("--version", version,
               "Commit, compiler, libraries, and which backends can run here");
  app.add_flag("--quiet", quiet, "Only warnings and errors");
  app.add_flag("--debug", debug, "More lines");
  Command chosen;
  for (auto add : {add_train, add_evaluate, add_allreduce, add_convert, add_inspect, add_plan,
                   add_selftest, add_report, add_help})
    add(app, chosen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    const CLI::App* asked = &app;
    for (;;) {
      const auto deeper = asked->get_subcommands();
      if (deeper.empty()) break;
      asked = deeper.front();
    }
    print(asked->help(asked == &app ? "" : "isaribi"));
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    if (version) {
      print(version_text(backends));
      return std::nullopt;
    }
    throw usage_error(app, error, argc, argv);
  }
  if (version) {
    print(version_text(backends));
    return std::nullopt;
  }
  chosen.quiet = quiet;
  chosen.debug = debug;
  return chosen;
}

}  // namespace isaribi::app
