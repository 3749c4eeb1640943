// SPDX-License-Identifier: Apache-2.0
// What all of a machine's RAM held at one moment. Pages that did not change from one image to the next are shared.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "softmmu/memory/memory.h"

namespace emu::mem {

/// Main thread, nobody writes to RAM meanwhile.
class RamImage {
 public:
  /// `similar`: an image of about the same, whose pages are shared where they are equal; may be null.
  static RamImage take(const Memory& memory, const RamImage* similar);

  /// Writes what differs. Errors: there are other blocks of RAM than there were.
  Result<void> restore(const Memory& memory) const;

  bool operator==(const RamImage& other) const;

 private:
  using Page = std::array<u8, kPageSize>;
  using PageRef = std::shared_ptr<const Page>;  ///< null: zeros
  struct Block {
    std::string id;
    std::vector<PageRef> pages;
  };
  static const Block* find(const RamImage* image, const std::string& id, u64 pages);

  std::vector<Block> blocks_;
};

}  // namespace emu::mem
