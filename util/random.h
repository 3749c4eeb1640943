// SPDX-License-Identifier: Apache-2.0
// Random numbers for the guest: the host's, or after -seed a sequence that is the same in each run.
#pragma once

#include <optional>

#include "util/types.h"

namespace emu {

/// From now on random_u64() gives the sequence of that seed. Before threads start.
void seed_random(u64 seed);
/// Any thread; seeded, threads share one sequence, each number goes to one of them.
u64 random_u64();
/// Where the sequence stands, to come back to it; empty: there is none, no seed was given.
std::optional<u64> random_position();
void set_random_position(u64 position);

}  // namespace emu
