// SPDX-License-Identifier: Apache-2.0
// A character device as an object in the tree, so that devices can name it: /chardevs/ID.
#pragma once

#include <memory>

#include "chardev/chardev.h"
#include "qom/type.h"

namespace emu::hw {

class ChardevObject final : public qom::Object {
 public:
  static constexpr const char* kTypeName = "chardev";
  static void describe(qom::TypeInfo<ChardevObject>& type) { type.doc("Byte stream to the outside"); }

  void hold(std::unique_ptr<chardev::Chardev> stream) { stream_ = std::move(stream); }
  chardev::Chardev& stream() const { return *stream_; }

 private:
  std::unique_ptr<chardev::Chardev> stream_;
};

void register_chardev_object(qom::TypeRegistry& registry);

}  // namespace emu::hw
