// SPDX-License-Identifier: MIT
// The test driver for Catch2 2.x; Catch2 3 brings its own.
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
