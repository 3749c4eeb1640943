// SPDX-License-Identifier: Apache-2.0
// Where random numbers for the guest come from: -object rng-builtin and rng-random.
#pragma once

#include <span>
#include <string>

#include "qom/user_creatable.h"
#include "util/fd.h"

namespace emu::hw {

class RngBackend : public qom::UserCreatable {
 public:
  static constexpr const char* kTypeName = "rng-backend";
  static void describe(qom::TypeInfo<RngBackend>& type) { type.doc("Source of random numbers"); }

  /// Fills as much of `to` as there is now; 0: ask again in a moment. Main loop.
  virtual std::size_t read(std::span<u8> to) = 0;
  bool is_in_use() const override { return users_ != 0; }
  void add_user() { ++users_; }
  void remove_user() { --users_; }

 private:
  unsigned users_ = 0;
};

/// The host's generator, or the sequence of -seed.
class RngBuiltin final : public RngBackend {
 public:
  static void describe(qom::TypeInfo<RngBuiltin>& type) { type.doc("Random numbers of the host's generator"); }
  std::size_t read(std::span<u8> to) override;
};

/// A file or device: filename=, /dev/urandom by default.
class RngRandom final : public RngBackend {
 public:
  static void describe(qom::TypeInfo<RngRandom>& type);
  Result<void> complete() override;
  std::size_t read(std::span<u8> to) override;

 private:
  std::string filename_ = "/dev/urandom";
  Fd fd_;
};

/// Registers both; after "user-creatable".
void register_rng_backends(qom::TypeRegistry& registry);

}  // namespace emu::hw
