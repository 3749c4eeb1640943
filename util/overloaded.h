// SPDX-License-Identifier: Apache-2.0
// One callable for std::visit out of one for each alternative.
#pragma once

namespace emu {

template <typename... Alternatives>
struct Overloaded : Alternatives... {
  using Alternatives::operator()...;
};
template <typename... Alternatives>
Overloaded(Alternatives...) -> Overloaded<Alternatives...>;

}  // namespace emu
