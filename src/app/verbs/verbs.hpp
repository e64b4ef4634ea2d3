// SPDX-License-Identifier: MIT
// One function per verb: declares its options and help, and fills in `chosen` when it was asked
// for.
#pragma once

#include <CLI/CLI.hpp>

#include "app/session.hpp"

namespace isaribi::app {

void add_allreduce(CLI::App& app, Command& chosen);
void add_train(CLI::App& app, Command& chosen);
void add_evaluate(CLI::App& app, Command& chosen);
void add_convert(CLI::App& app, Command& chosen);
void add_inspect(CLI::App& app, Command& chosen);
void add_plan(CLI::App& app, Command& chosen);
void add_selftest(CLI::App& app, Command& chosen);
void add_report(CLI::App& app, Command& chosen);

/// A verb named `name` with its one-line summary and an example that its --help shows.
CLI::App* add_verb(CLI::App& app, const std::string& name, const std::string& summary,
                   const std::string& examples);

}  // namespace isaribi::app
