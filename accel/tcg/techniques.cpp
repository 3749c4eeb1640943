// SPDX-License-Identifier: Apache-2.0
#include "accel/tcg/techniques.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "util/suggest.h"

namespace emu::accel {
namespace {

struct Name {
  const char* name;
  bool Techniques::*member;
};
constexpr Name kNames[] = {
    {"links", &Techniques::links},
    {"jump-cache", &Techniques::jump_cache},
    {"check-sharing", &Techniques::check_sharing},
    {"dead-code", &Techniques::dead_code},
    {"refill", &Techniques::refill},
    {"direct-entry", &Techniques::direct_entry},
    {"quick-helpers", &Techniques::quick_helpers},
    {"string-runs", &Techniques::string_runs},
    {"granules", &Techniques::granules},
    {"graveyard", &Techniques::graveyard},
    {"checked-pages", &Techniques::checked_pages},
    {"huge-pages", &Techniques::huge_pages},
    {"flag-fusion", &Techniques::flag_fusion},
    {"segments", &Techniques::segments},
    {"kept-contexts", &Techniques::kept_contexts},
    {"clones", &Techniques::clones},
    {"plain-locks", &Techniques::plain_locks},
};

}  // namespace

Result<Techniques> parse_techniques(std::string_view without) {
  Techniques techniques;
  while (!without.empty()) {
    const std::string_view name = without.substr(0, without.find(':'));
    without.remove_prefix(std::min(without.size(), name.size() + 1));
    const auto found =
        std::find_if(std::begin(kNames), std::end(kNames), [&](const Name& n) { return n.name == name; });
    if (found == std::end(kNames)) {
      std::vector<std::string_view> all;
      for (const Name& n : kNames) all.emplace_back(n.name);
      return error(Error(fmt::format("without: no such technique '{}'", name)).with_hint(did_you_mean(name, all)));
    }
    techniques.*found->member = false;
  }
  return techniques;
}

}  // namespace emu::accel
