// SPDX-License-Identifier: MIT
// Catch2 under one include, whether 3.x or the 2.13 that Debian 12 ships.
#pragma once

#if defined(ISARIBI_CATCH2_V2)
#include <catch2/catch.hpp>
#else
#include <catch2/catch_all.hpp>
using Catch::Approx;
#endif
