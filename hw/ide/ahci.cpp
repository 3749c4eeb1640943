// SPDX-License-Identifier: Apache-2.0
#include "hw/ide/ahci.h"

#include <algorithm>

namespace emu::hw {

using namespace pci;

namespace {

constexpr u64 kAbarBytes = 0x1000;
constexpr unsigned kAbar = 5;
constexpr unsigned MAP = 0x90;     // ICH9 §16.1.29
constexpr u8 kMapAhci = 0x40;
constexpr u32 kVersion = 0x0001'0300;
constexpr u32 kCapAhciOnly = bit(18), kCapSpeed3G = 2u << 20, kCapQueued = bit(30), kCap64Bit = bit(31);

}  // namespace

void Ahci::describe(TypeInfo<Ahci>& type) {
  type.doc("SATA controller (AHCI, ICH9)");
  type.category(Category::Storage);
  type.region("ahci", kAbarBytes, &Ahci::read, &Ahci::write, {.valid = {1, 8}, .impl = {4, 4}});
  type.saved(1, &Ahci::fields, &Ahci::after_load);
}

Result<void> Ahci::realize() {
  alive_ = std::make_shared<bool>(true);
  PciConfig& c = config();
  c.set16(STATUS, u16(c.get16(STATUS) | kStatusDevselMedium | kStatusFastBackToBack));
  c.set8(MAP, kMapAhci);
  use_interrupt_pin(1);
  add_msi(1);
  static_cast<void>(dma());
  for (unsigned n = 0; n < kPorts; n++) {
    buses_[n] = &add_bus<IdeBus>(id().empty() ? fmt::format("ide.{}", n) : fmt::format("{}.{}", id(), n));
    ports_[n] = std::make_unique<AhciPort>(
        *buses_[n], AhciPort::Hooks{.dma = [this]() -> mem::AddressSpace& { return dma(); },
                                    .interrupt = [this] { refresh(); }, .drained = [this] { finish_reset(); }});
  }
  add_bar(kAbar, BarKind::Memory32, region("ahci"));
  return {};
}

void Ahci::unrealize() {
  alive_.reset();
  for (IdeBus* bus : buses_) bus->set_listener({});
}

/// After the drives reset themselves: the ports show what they say.
void Ahci::reset_hold() {
  state_ = {};
  for (auto& port : ports_) port->reset();
  state_.is = 0;
  refresh();
}

// Registers. ---------------------------------------------------------------------------------------------------------

u64 Ahci::read(u64 offset, unsigned) {
  if (offset >= kFirstPort) {
    const u64 n = (offset - kFirstPort) / kPortBytes;
    return n < kPorts ? ports_[n]->read(unsigned((offset - kFirstPort) % kPortBytes)) : 0;
  }
  switch (offset) {
    case CAP:
      return (kPorts - 1) | (ahci::kSlots - 1) << 8 | kCapAhciOnly | kCapSpeed3G | kCapQueued | kCap64Bit;
    case GHC:
      return state_.ghc;
    case IS:
      return state_.is;
    case PI:
      return low_mask(kPorts);
    case VS:
      return kVersion;
    default:
      return 0;
  }
}

void Ahci::write(u64 offset, u64 value, unsigned) {
  if (offset >= kFirstPort) {
    const u64 n = (offset - kFirstPort) / kPortBytes;
    if (n < kPorts) ports_[n]->write(unsigned((offset - kFirstPort) % kPortBytes), u32(value));
    return;
  }
  if (offset == GHC) {
    if (value & kGhcReset) {
      state_.ghc |= kGhcReset;
      for (auto& port : ports_) port->abandon();
      return finish_reset();
    }
    state_.ghc = kGhcAhci | (value & kGhcInterrupts) | (state_.ghc & kGhcReset);
    refresh();
  } else if (offset == IS) {
    state_.is &= ~u32(value);
    // A message was used up by what has been cleared; what is left or came again needs another, §10.6.2.2.
    refresh(/*tells_again=*/true);
  }
}

/// GHC.HR falls when nothing moves the guest's memory any more.
void Ahci::finish_reset() {
  if (!(state_.ghc & kGhcReset)) return;
  if (!std::all_of(ports_.begin(), ports_.end(), [](const auto& port) { return port->is_idle(); })) return;
  state_ = {};
  for (auto& port : ports_) port->reset();
  state_.is = 0;
  refresh();
}

/// The one place where interrupts follow state.
void Ahci::refresh(bool tells_again) {
  const u32 before = tells_again ? 0 : state_.is;
  for (unsigned n = 0; n < kPorts; n++) {
    if (ports_[n] != nullptr && ports_[n]->has_interrupt()) state_.is |= bit(n);
  }
  const bool enabled = state_.ghc & kGhcInterrupts;
  if (uses_msi()) {
    set_intx(false);
    if (enabled && (state_.is & ~before) != 0) notify_msi(0);
  } else {
    set_intx(enabled && state_.is != 0);
  }
}

// Saving. ------------------------------------------------------------------------------------------------------------

void Ahci::fields(Archive& ar) {
  ar("ghc", state_.ghc)("is", state_.is);
  for (unsigned n = 0; n < kPorts; n++) ar(fmt::format("port{}", n), *ports_[n]);
}

Result<void> Ahci::after_load() {
  if (state_.ghc & ~(kGhcAhci | kGhcInterrupts | kGhcReset)) return error("AHCI: reserved bits in GHC");
  for (auto& port : ports_) EMU_TRY(port->after_load());
  machine().run_on_main_loop([this, alive = std::weak_ptr<bool>(alive_)] {
    if (alive.expired()) return;
    for (auto& port : ports_) port->resume();
  });
  return {};
}

void register_ahci(TypeRegistry& registry) {
  registry.add<Ahci>("ich9-ahci");
  registry.add_alias("ahci", "ich9-ahci");
}

}  // namespace emu::hw
