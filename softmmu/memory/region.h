// SPDX-License-Identifier: Apache-2.0
// Regions: the tree from which address spaces are flattened. docs/devel/memory.md explains it with a map.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "softmmu/memory/ram_block.h"
#include "softmmu/memory/types.h"

namespace emu::mem {

class AddressSpace;
class Memory;
class Region;
using RegionRef = std::shared_ptr<Region>;

/// What a device does with accesses. Offsets are from the region's start and always inside it; `size` is one of 1, 2,
/// 4, 8 within MmioOptions::impl; values are in the low bits, as the guest register would read in the region's order.
class MmioOps {
 public:
  virtual ~MmioOps() = default;
  virtual u64 read(u64 offset, unsigned size) = 0;
  virtual void write(u64 offset, u64 value, unsigned size) = 0;
  /// For the few that care who asks or may refuse; by default they call the two above.
  virtual MemTxResult read_with(u64 offset, unsigned size, MemTxAttrs attrs, u64& value) {
    static_cast<void>(attrs);
    value = read(offset, size);
    return MemTxResult::Ok;
  }
  virtual MemTxResult write_with(u64 offset, u64 value, unsigned size, MemTxAttrs attrs) {
    static_cast<void>(attrs);
    write(offset, value, size);
    return MemTxResult::Ok;
  }
};

/// MmioOps from two functions. A null function reads as all ones, or ignores the write.
class MmioFunctions final : public MmioOps {
 public:
  using Read = std::function<u64(u64 offset, unsigned size)>;
  using Write = std::function<void(u64 offset, u64 value, unsigned size)>;
  MmioFunctions(Read read, Write write) : read_(std::move(read)), write_(std::move(write)) {}
  u64 read(u64 offset, unsigned size) override { return read_ ? read_(offset, size) : ~u64(0); }
  void write(u64 offset, u64 value, unsigned size) override {
    if (write_) write_(offset, value, size);
  }

 private:
  Read read_;
  Write write_;
};

/// Inclusive range of access sizes in bytes; powers of two, 1 to 8.
struct AccessSizes {
  u8 min = 1;
  u8 max = 8;
};

struct MmioOptions {
  /// What the guest may do. A smaller access is refused (guest error, DecodeError); a larger one is split.
  AccessSizes valid{1, 8};
  /// What the callbacks take. A larger access is split into them; a smaller read is cut out of a wider one, a smaller
  /// write is passed on widened with zeros in the other bytes, at the offset rounded down.
  AccessSizes impl{1, 8};
  /// Whether an access of n bytes may start elsewhere than at a multiple of n; otherwise it is split.
  bool unaligned = false;
  Endian endian = Endian::Little;
  Locking locking = Locking::Machine;
};

/// A node: a container, RAM, ROM, MMIO, or a window (alias) onto another region. Made by the static functions, held by
/// counted handle. The tree changes only with the machine lock held, inside a Transaction (each call opens one of its
/// own if there is none) and becomes visible when the outermost one ends.
class Region : public std::enable_shared_from_this<Region> {
 public:
  enum class Kind : u8 { Container, Ram, Rom, RomDevice, Mmio, Alias };
  struct Private;  // constructor key

  /// Subregions and nothing else. Where none of them answers, what lies below in the parent shows through.
  static RegionRef container(Memory& memory, std::string name, Size size);
  /// The whole of `ram`.
  static RegionRef ram(Memory& memory, std::string name, RamRef ram);
  /// Guest writes are ignored. Fill it with RamBlock::write.
  static RegionRef rom(Memory& memory, std::string name, RamRef ram);
  /// Reads come from `ram`, writes go to `ops` (flash); set_rom_mode(false) sends reads to `ops` too.
  static RegionRef rom_device(Memory& memory, std::string name, RamRef ram, std::unique_ptr<MmioOps> ops,
                              MmioOptions options = {});
  static RegionRef mmio(Memory& memory, std::string name, Size size, std::unique_ptr<MmioOps> ops,
                        MmioOptions options = {});
  static RegionRef mmio(Memory& memory, std::string name, Size size, MmioFunctions::Read read,
                        MmioFunctions::Write write, MmioOptions options = {});
  /// Shows [offset, offset + size) of `target`, whatever that is.
  static RegionRef alias(Memory& memory, std::string name, RegionRef target, u64 offset, Size size);

  Region(Private&&, Memory& memory, Kind kind, std::string name, Size size);
  ~Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  const std::string& name() const { return name_; }
  Kind kind() const { return kind_; }
  Size size() const { return size_; }
  Memory& memory() const { return memory_; }
  /// RAM of a Ram, Rom or RomDevice region; else null.
  const RamRef& ram_block() const { return ram_; }
  const RegionRef& alias_target() const { return target_; }
  u64 alias_offset() const { return alias_offset_; }
  const MmioOptions& options() const { return options_; }

  // Tree
  /// Places `child` at `offset`. Where children overlap the higher priority wins; of equals the one added later.
  void add(u64 offset, RegionRef child, int priority = 0);
  void remove(Region& child);
  /// Takes this region out of its parent, if it has one.
  void remove_from_parent();
  Region* parent() const { return parent_; }
  const std::vector<RegionRef>& children() const { return children_; }  // highest priority first
  u64 address() const { return address_; }  // in the parent
  int priority() const { return priority_; }
  bool is_enabled() const { return enabled_; }

  void set_enabled(bool enabled);
  void set_address(u64 address);
  void set_priority(int priority);
  /// Aliases and containers only.
  void set_size(Size size);
  void set_alias_offset(u64 offset);
  /// Ram becomes write-protected, or writable again (PAM, flash).
  void set_readonly(bool readonly);
  bool is_readonly() const { return readonly_; }
  /// RomDevice: true sends reads to memory, false to the callbacks.
  void set_rom_mode(bool rom_mode);
  bool is_rom_mode() const { return rom_mode_; }

  /// Cuts the link to the device: from now on callbacks are not entered, accesses are decode errors. One that is under
  /// way on another thread may still be in its callback until a grace period has passed: free the device in
  /// Memory::defer. Done by Device::unrealize.
  void revoke();

  // Access to the callbacks, with sizes split and order converted as options() says, and the machine lock taken if
  // asked for. `size` is 1, 2, 4 or 8; offset + size must lie in the region. The value is that of a little-endian bus.
  MemTxResult mmio_read(u64 offset, unsigned size, MemTxAttrs attrs, u64& value);
  MemTxResult mmio_write(u64 offset, u64 value, unsigned size, MemTxAttrs attrs);

  /// A flag shared by all regions of one device, so that its own DMA cannot re-enter it: such an access is refused and
  /// logged as a guest error. Each Locking::Machine region has one of its own otherwise.
  void share_entry_flag(std::shared_ptr<bool> busy) { busy_ = std::move(busy); }

 private:
  friend class FlatViewBuilder;
  friend class Memory;

  void changed();
  void sort_child(RegionRef child);
  template <typename Access>
  MemTxResult enter(Access&& access);
  MemTxResult read_pieces(MmioOps& ops, u64 offset, unsigned size, MemTxAttrs attrs, u64& value);
  MemTxResult write_pieces(MmioOps& ops, u64 offset, u64 value, unsigned size, MemTxAttrs attrs);

  Memory& memory_;
  const Kind kind_;
  const std::string name_;
  Size size_;
  Region* parent_ = nullptr;
  u64 address_ = 0;
  int priority_ = 0;
  bool enabled_ = true;
  bool readonly_ = false;
  bool rom_mode_ = true;
  std::vector<RegionRef> children_;
  RegionRef target_;
  u64 alias_offset_ = 0;
  RamRef ram_;
  MmioOptions options_;
  std::unique_ptr<MmioOps> owned_ops_;
  std::atomic<MmioOps*> ops_{nullptr};  ///< null once revoked
  std::shared_ptr<bool> busy_;          ///< machine lock
};

}  // namespace emu::mem
