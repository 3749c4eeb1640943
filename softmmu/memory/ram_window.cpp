// SPDX-License-Identifier: Apache-2.0
#include "softmmu/memory/ram_window.h"

#include "softmmu/memory/host_access.h"
#include "softmmu/memory/memory.h"

namespace emu::mem {
namespace {

/// Calls `piece(section, done, size)` for each stretch of RAM in [address, address + length); false at the first that
/// is none, or when `piece` says so.
template <typename Piece>
bool for_each_ram(const FlatView& view, GuestPhys address, u64 length, Piece&& piece) {
  for (u64 done = 0; done < length;) {
    if (address + done < address) return false;
    const Section section = view.lookup(address + done);
    if (!section.is_ram()) return false;
    const u64 size = section.size == 0 ? length - done : std::min(length - done, section.size);
    if (!piece(section, done, size)) return false;
    done += size;
  }
  return true;
}

bool copy_in(const FlatView& view, GuestPhys address, std::span<u8> to) {
  return for_each_ram(view, address, to.size(), [&](const Section& section, u64 done, u64 size) {
    copy_from_ram(to.data() + done, host_address(*section.ram, section.offset_in_ram), size);
    return true;
  });
}

bool copy_out(const FlatView& view, GuestPhys address, std::span<const u8> from) {
  return for_each_ram(view, address, from.size(), [&](const Section& section, u64 done, u64 size) {
    if (section.readonly) return false;
    copy_to_ram(host_address(*section.ram, section.offset_in_ram), from.data() + done, size);
    section.ram->note_write(section.offset_in_ram, size);
    return true;
  });
}

}  // namespace

void RamWindow::look_up(const FlatView& view) {
  generation_ = view.generation();
  host_ = nullptr;
  const Section section = view.lookup(address_);
  if (!section.is_ram() || (section.size != 0 && section.size < length_)) return;
  ram_ = section.ram;
  offset_in_ram_ = section.offset_in_ram;
  readonly_ = section.readonly;
  host_ = host_address(*section.ram, section.offset_in_ram);
}

bool RamWindow::read(u64 offset, std::span<u8> to) {
  if (space_ == nullptr || !contains(offset, to.size())) return false;
  const GracePeriods::ReadGuard guard(space_->memory().grace());
  const FlatView& view = space_->view();
  if (generation_ != view.generation()) [[unlikely]] look_up(view);
  if (host_ == nullptr) return copy_in(view, address_ + offset, to);
  copy_from_ram(to.data(), host_ + offset, to.size());
  return true;
}

bool RamWindow::write(u64 offset, std::span<const u8> from) {
  if (space_ == nullptr || !contains(offset, from.size())) return false;
  const GracePeriods::ReadGuard guard(space_->memory().grace());
  const FlatView& view = space_->view();
  if (generation_ != view.generation()) [[unlikely]] look_up(view);
  if (host_ == nullptr) return copy_out(view, address_ + offset, from);
  if (readonly_) return false;
  copy_to_ram(host_ + offset, from.data(), from.size());
  ram_->note_write(offset_in_ram_ + offset, from.size());
  return true;
}

bool read_ram(AddressSpace& space, GuestPhys address, std::span<u8> to) {
  const GracePeriods::ReadGuard guard(space.memory().grace());
  return copy_in(space.view(), address, to);
}

bool write_ram(AddressSpace& space, GuestPhys address, std::span<const u8> from) {
  const GracePeriods::ReadGuard guard(space.memory().grace());
  return copy_out(space.view(), address, from);
}

bool discard_ram(AddressSpace& space, GuestPhys address, u64 length) {
  const GracePeriods::ReadGuard guard(space.memory().grace());
  return for_each_ram(space.view(), address, length, [](const Section& section, u64, u64 size) {
    if (section.readonly) return false;
    section.ram->discard(section.offset_in_ram, size);
    return true;
  });
}

}  // namespace emu::mem
