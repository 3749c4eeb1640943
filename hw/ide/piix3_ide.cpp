// SPDX-License-Identifier: Apache-2.0
#include "hw/ide/piix3_ide.h"

namespace emu::hw {

using namespace pci;

namespace {

constexpr u16 kCommandPorts[] = {0x1f0, 0x170}, kControlPorts[] = {0x3f6, 0x376};
constexpr u32 kDecodeBoth = 0x8000'8000;
constexpr unsigned kBusMasterBar = 4, kBytesAChannel = 8, kTableOffset = 4;

}  // namespace

void Piix3Ide::describe(TypeInfo<Piix3Ide>& type) {
  type.doc("PIIX3 IDE controller");
  type.category(Category::Storage);
  type.not_user_creatable();
  type.irq_out("irq", &Piix3Ide::irqs_);
  type.region("piix-bmdma", kChannels * kBytesAChannel, &Piix3Ide::read_bus_master, &Piix3Ide::write_bus_master,
              {.valid = {1, 4}, .impl = {1, 4}});
  type.saved(1, &Piix3Ide::fields, &Piix3Ide::after_load);
}

Result<void> Piix3Ide::realize() {
  PciConfig& c = config();
  c.set16(STATUS, kStatusDevselMedium | kStatusFastBackToBack);
  c.set32(IDETIM, kDecodeBoth);
  c.allow32(IDETIM, 0xffff'ffff);
  c.allow8(SIDETIM, 0xff);
  static_cast<void>(dma());
  for (unsigned n = 0; n < kChannels; n++) {
    buses_[n] = &add_bus<IdeBus>(fmt::format("ide.{}", n));
    channels_[n] = std::make_unique<IdeChannel>(*buses_[n], irqs_[n], [this]() -> mem::AddressSpace& { return dma(); });
    IdeChannel* channel = channels_[n].get();
    const auto add = [&](u16 port, const char* what, u64 size, auto read, auto write) {
      const auto region = add_region(mem::Region::mmio(
          memory(), fmt::format("ide{}-{}", n, what), size,
          [channel, read](u64 o, unsigned s) { return (channel->*read)(o, s); },
          [channel, write](u64 o, u64 v, unsigned s) { (channel->*write)(o, v, s); },
          {.valid = {1, 4}, .impl = {1, 4}}));
      pci_bus().ports().add(port, region);
    };
    add(kCommandPorts[n], "command", 8, &IdeChannel::read_command_block, &IdeChannel::write_command_block);
    add(kControlPorts[n], "control", 1, &IdeChannel::read_control_block, &IdeChannel::write_control_block);
  }
  add_bar(kBusMasterBar, BarKind::Io, region("piix-bmdma"));
  return {};
}

void Piix3Ide::unrealize() {
  for (unsigned n = 0; n < kChannels; n++) buses_[n]->set_listener({});
}

/// After the drives reset themselves: the registers show what they say.
void Piix3Ide::reset_hold() {
  for (auto& channel : channels_) {
    channel->reset();
    channel->show_irq();
  }
}

void Piix3Ide::fields(Archive& ar) {
  ar("channel0", *channels_[0])("channel1", *channels_[1]);
}

Result<void> Piix3Ide::after_load() {
  for (auto& channel : channels_) EMU_TRY(channel->after_load());
  return {};
}

u64 Piix3Ide::read_bus_master(u64 offset, unsigned size) {
  IdeChannel& channel = *channels_[offset / kBytesAChannel];
  u64 value = 0;
  for (unsigned i = 0; i < size; i++) {
    const u64 at = offset % kBytesAChannel + i;
    const bool of_table = at >= kTableOffset && at < kBytesAChannel;
    const u8 byte = of_table ? u8(channel.bus_master_table() >> (8 * (at - kTableOffset))) : channel.read_bus_master(at);
    value |= u64(byte) << (8 * i);
  }
  return value;
}

void Piix3Ide::write_bus_master(u64 offset, u64 value, unsigned size) {
  IdeChannel& channel = *channels_[offset / kBytesAChannel];
  for (unsigned i = 0; i < size; i++) {
    const u64 at = offset % kBytesAChannel + i;
    const u8 byte = u8(value >> (8 * i));
    if (at >= kTableOffset && at < kBytesAChannel) {
      const unsigned low = unsigned(8 * (at - kTableOffset));
      channel.set_bus_master_table(u32(deposit(channel.bus_master_table(), low + 7, low, byte)));
    } else {
      channel.write_bus_master(at, byte);
    }
  }
}

void register_piix3_ide(TypeRegistry& registry) { registry.add<Piix3Ide>("piix3-ide"); }

}  // namespace emu::hw
