// SPDX-License-Identifier: Apache-2.0
// The region tree, and accesses to MMIO regions.
#include "softmmu/memory/region.h"

#include <algorithm>
#include <bit>

#include "softmmu/memory/memory.h"
#include "util/endian.h"
#include "util/log.h"
#include "util/trace.h"

namespace emu::mem {

struct Region::Private {};

Region::Region(Private&&, Memory& memory, Kind kind, std::string name, Size size)
    : memory_(memory), kind_(kind), name_(std::move(name)), size_(size) {}

Region::~Region() {
  for (const RegionRef& child : children_) child->parent_ = nullptr;
}

RegionRef Region::container(Memory& memory, std::string name, Size size) {
  return std::make_shared<Region>(Private(), memory, Kind::Container, std::move(name), size);
}

RegionRef Region::ram(Memory& memory, std::string name, RamRef ram) {
  EMU_CHECK(ram != nullptr);
  auto region = std::make_shared<Region>(Private(), memory, Kind::Ram, std::move(name), ram->size());
  region->ram_ = std::move(ram);
  return region;
}

RegionRef Region::rom(Memory& memory, std::string name, RamRef ram) {
  EMU_CHECK(ram != nullptr);
  auto region = std::make_shared<Region>(Private(), memory, Kind::Rom, std::move(name), ram->size());
  region->ram_ = std::move(ram);
  return region;
}

RegionRef Region::rom_device(Memory& memory, std::string name, RamRef ram, std::unique_ptr<MmioOps> ops,
                             MmioOptions options) {
  EMU_CHECK(ram != nullptr);
  auto region = std::make_shared<Region>(Private(), memory, Kind::RomDevice, std::move(name), ram->size());
  region->ram_ = std::move(ram);
  region->options_ = options;
  region->ops_ = ops.get();
  region->owned_ops_ = std::move(ops);
  region->busy_ = std::make_shared<bool>(false);
  return region;
}

RegionRef Region::mmio(Memory& memory, std::string name, Size size, std::unique_ptr<MmioOps> ops, MmioOptions options) {
  auto region = std::make_shared<Region>(Private(), memory, Kind::Mmio, std::move(name), size);
  region->options_ = options;
  region->ops_ = ops.get();
  region->owned_ops_ = std::move(ops);
  region->busy_ = std::make_shared<bool>(false);
  return region;
}

RegionRef Region::mmio(Memory& memory, std::string name, Size size, MmioFunctions::Read read,
                       MmioFunctions::Write write, MmioOptions options) {
  return mmio(memory, std::move(name), size, std::make_unique<MmioFunctions>(std::move(read), std::move(write)),
              options);
}

RegionRef Region::alias(Memory& memory, std::string name, RegionRef target, u64 offset, Size size) {
  EMU_CHECK(target != nullptr);
  auto region = std::make_shared<Region>(Private(), memory, Kind::Alias, std::move(name), size);
  region->target_ = std::move(target);
  region->alias_offset_ = offset;
  return region;
}

void Region::changed() { memory_.tree_changed(); }

void Region::sort_child(RegionRef child) {
  // Before the first of its own priority: of equals, the one added later wins.
  auto place = std::find_if(children_.begin(), children_.end(),
                            [&](const RegionRef& other) { return other->priority_ <= child->priority_; });
  children_.insert(place, std::move(child));
}

void Region::add(u64 offset, RegionRef child, int priority) {
  EMU_CHECK(child != nullptr && child->parent_ == nullptr && child.get() != this);
  Transaction transaction(memory_);
  child->parent_ = this;
  child->address_ = offset;
  child->priority_ = priority;
  sort_child(std::move(child));
  changed();
}

void Region::remove(Region& child) {
  EMU_CHECK(child.parent_ == this);
  Transaction transaction(memory_);
  child.parent_ = nullptr;
  std::erase_if(children_, [&](const RegionRef& other) { return other.get() == &child; });
  changed();
}

void Region::remove_from_parent() {
  if (parent_ != nullptr) parent_->remove(*this);
}

void Region::set_enabled(bool enabled) {
  if (enabled_ == enabled) return;
  Transaction transaction(memory_);
  enabled_ = enabled;
  changed();
}

void Region::set_address(u64 address) {
  if (address_ == address) return;
  Transaction transaction(memory_);
  address_ = address;
  changed();
}

void Region::set_priority(int priority) {
  if (priority_ == priority) return;
  Transaction transaction(memory_);
  priority_ = priority;
  if (parent_ != nullptr) {
    RegionRef self = shared_from_this();
    std::erase(parent_->children_, self);
    parent_->sort_child(std::move(self));
  }
  changed();
}

void Region::set_size(Size size) {
  EMU_CHECK(kind_ == Kind::Alias || kind_ == Kind::Container);
  if (size_ == size) return;
  Transaction transaction(memory_);
  size_ = size;
  changed();
}

void Region::set_alias_offset(u64 offset) {
  EMU_CHECK(kind_ == Kind::Alias);
  if (alias_offset_ == offset) return;
  Transaction transaction(memory_);
  alias_offset_ = offset;
  changed();
}

void Region::set_readonly(bool readonly) {
  if (readonly_ == readonly) return;
  Transaction transaction(memory_);
  readonly_ = readonly;
  changed();
}

void Region::set_rom_mode(bool rom_mode) {
  EMU_CHECK(kind_ == Kind::RomDevice);
  if (rom_mode_ == rom_mode) return;
  Transaction transaction(memory_);
  rom_mode_ = rom_mode;
  changed();
}

void Region::revoke() { ops_.store(nullptr, std::memory_order_release); }

template <typename Access>
MemTxResult Region::enter(Access&& access) {
  if (options_.locking == Locking::None) {
    MmioOps* ops = ops_.load(std::memory_order_acquire);
    return ops == nullptr ? MemTxResult::DecodeError : access(*ops);
  }
  MachineLockScope lock(memory_.lock());
  MmioOps* ops = ops_.load(std::memory_order_acquire);
  if (ops == nullptr) return MemTxResult::DecodeError;
  if (*busy_) {
    log::guest_error("{}: access from within its own callback refused", name_);
    return MemTxResult::DeviceError;
  }
  const std::shared_ptr<bool>& busy = busy_;
  *busy = true;
  const MemTxResult result = access(*ops);
  *busy = false;
  return result;
}

namespace {

/// Between the value a callback deals in and the little-endian bus; its own inverse.
u64 in_bus_order(u64 value, unsigned size, Endian endian) {
  value &= low_mask(size * 8);
  return endian == Endian::Little ? value : byte_swap(value) >> (64 - size * 8);
}

/// The largest access that may start at `offset` and does not exceed `size` or `max`.
unsigned piece_size(u64 offset, unsigned size, const MmioOptions& options) {
  unsigned piece = std::min<unsigned>(std::bit_floor(size), options.valid.max);
  if (!options.unaligned && offset != 0) piece = unsigned(std::min<u64>(piece, offset & -offset));
  return piece;
}

MemTxResult read_valid(MmioOps& ops, const MmioOptions& options, u64 offset, unsigned size, MemTxAttrs attrs,
                       u64& value) {
  if (size < options.impl.min) {
    const unsigned wide = options.impl.min;
    u64 all = 0;
    const MemTxResult result = ops.read_with(align_down(offset, wide), wide, attrs, all);
    value = in_bus_order(all, wide, options.endian) >> (8 * (offset & (wide - 1)));
    value &= low_mask(size * 8);
    return result;
  }
  MemTxResult result = MemTxResult::Ok;
  const unsigned step = std::min<unsigned>(size, options.impl.max);
  value = 0;
  for (unsigned done = 0; done < size; done += step) {
    u64 part = 0;
    result = worse(result, ops.read_with(offset + done, step, attrs, part));
    value |= in_bus_order(part, step, options.endian) << (8 * done);
  }
  return result;
}

MemTxResult write_valid(MmioOps& ops, const MmioOptions& options, u64 offset, u64 value, unsigned size,
                        MemTxAttrs attrs) {
  if (size < options.impl.min) {
    const unsigned wide = options.impl.min;
    const u64 placed = (value & low_mask(size * 8)) << (8 * (offset & (wide - 1)));
    return ops.write_with(align_down(offset, wide), in_bus_order(placed, wide, options.endian), wide, attrs);
  }
  MemTxResult result = MemTxResult::Ok;
  const unsigned step = std::min<unsigned>(size, options.impl.max);
  for (unsigned done = 0; done < size; done += step) {
    const u64 part = in_bus_order(value >> (8 * done), step, options.endian);
    result = worse(result, ops.write_with(offset + done, part, step, attrs));
  }
  return result;
}

}  // namespace

MemTxResult Region::read_pieces(MmioOps& ops, u64 offset, unsigned size, MemTxAttrs attrs, u64& value) {
  MemTxResult result = MemTxResult::Ok;
  value = 0;
  for (unsigned done = 0; done < size;) {
    const unsigned piece = piece_size(offset + done, size - done, options_);
    u64 part = 0;
    if (piece < options_.valid.min) {
      log::guest_error("{}: read of {} bytes at {:#x} is too narrow", name_, piece, offset + done);
      part = low_mask(piece * 8);
      result = worse(result, MemTxResult::DecodeError);
    } else {
      result = worse(result, read_valid(ops, options_, offset + done, piece, attrs, part));
    }
    value |= part << (8 * done);
    done += piece;
  }
  return result;
}

MemTxResult Region::write_pieces(MmioOps& ops, u64 offset, u64 value, unsigned size, MemTxAttrs attrs) {
  MemTxResult result = MemTxResult::Ok;
  for (unsigned done = 0; done < size;) {
    const unsigned piece = piece_size(offset + done, size - done, options_);
    if (piece < options_.valid.min) {
      log::guest_error("{}: write of {} bytes at {:#x} is too narrow", name_, piece, offset + done);
      result = worse(result, MemTxResult::DecodeError);
    } else {
      result = worse(result, write_valid(ops, options_, offset + done, value >> (8 * done), piece, attrs));
    }
    done += piece;
  }
  return result;
}

MemTxResult Region::mmio_read(u64 offset, unsigned size, MemTxAttrs attrs, u64& value) {
  value = low_mask(size * 8);
  if (Size(offset) + size > size_) return MemTxResult::DecodeError;
  const MemTxResult result = enter([&](MmioOps& ops) { return read_pieces(ops, offset, size, attrs, value); });
  EMU_TRACE("memory_region_ops_read", "region {} offset {:#x} size {} value {:#x}", name_, offset, size, value);
  return result;
}

MemTxResult Region::mmio_write(u64 offset, u64 value, unsigned size, MemTxAttrs attrs) {
  if (Size(offset) + size > size_) return MemTxResult::DecodeError;
  EMU_TRACE("memory_region_ops_write", "region {} offset {:#x} size {} value {:#x}", name_, offset, size, value);
  return enter([&](MmioOps& ops) { return write_pieces(ops, offset, value, size, attrs); });
}

}  // namespace emu::mem
