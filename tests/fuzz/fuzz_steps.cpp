// SPDX-License-Identifier: Apache-2.0
// What a fuzzer's bytes make a guest and the outside do to the machine.
#include <barrier>

#include "fuzz/fuzz_machine.h"
#include "fuzz/fuzz_seen.h"
#include "hw/9p/fsdev.h"
#include "hw/display/vga.h"
#include "hw/input/i8042.h"
#include "hw/intc/i8259.h"
#include "hw/intc/local_apic.h"

namespace emu::fuzz {
namespace {

constexpr unsigned kMostConfigBytes = 4096;

/// A guest's accesses may fail as they like.
void ignore(mem::MemTxResult) {}

void collect_leaves(qom::FieldTree& tree, std::vector<qom::FieldTree*>& leaves) {
  if (auto* members = tree.get_if<qom::FieldTree::Struct>()) {
    for (auto& member : *members) collect_leaves(member.value, leaves);
  } else if (auto* list = tree.get_if<qom::FieldTree::List>()) {
    for (qom::FieldTree& entry : *list) collect_leaves(entry, leaves);
  } else {
    leaves.push_back(&tree);
  }
}

/// Another value of the same kind.
void damage(qom::FieldTree& leaf, u64 value, Input& input) {
  if (auto* flag = leaf.get_if<bool>()) *flag = !*flag;
  if (auto* number = leaf.get_if<u64>()) *number = value;
  if (auto* number = leaf.get_if<i64>()) *number = i64(value);
  if (auto* text = leaf.get_if<std::string>()) text->resize(value & 0xff, 'x');
  auto* bytes = leaf.get_if<qom::FieldTree::ByteString>();
  if (bytes == nullptr) return;
  const u8 how = input.byte();
  if ((how & 1) != 0) bytes->resize(value & 0xffff);
  for (const u8 byte : input.bytes(how >> 4)) {
    if (!bytes->empty()) (*bytes)[(value + byte) % bytes->size()] ^= byte;
  }
}

}  // namespace

// Driving it. --------------------------------------------------------------------------------------------------------

void Machine::fill_ram(std::span<const u8> bytes) {
  if (bytes.empty()) return;
  constexpr u64 kFilled = 0x4000;
  std::vector<u8> pattern(kFilled);
  for (std::size_t i = 0; i < pattern.size(); i++) pattern[i] = bytes[i % bytes.size()];
  ram_->ram_block()->write(0x1000, pattern.data(), pattern.size());
}

void Machine::run(Input& input) {
  while (!input.is_empty() && !is_over_) step(input);
  run_loops();
}

void Machine::step(Input& input) {
  const u8 what = input.byte();
  // Accesses most often.
  switch (what >> 3) {
    case 0: case 1: case 2: case 3: case 4: case 5: case 6: case 7: return access_region(input, true);
    case 8: case 9: case 10: case 11: return access_region(input, false);
    case 12: return access_config(input, true);
    case 13: return access_config(input, false);
    case 14: return access_space(input, true);
    case 15: return access_space(input, false);
    case 16: case 17: return write_ram(input);
    case 18: return pass_time(input);
    case 19: return pull_wire(input);
    case 20: case 21: return happen_outside(input);
    case 22: return trouble_disks(input);
    case 23: return start_virtio(input);
    case 24: case 25: return offer_split(input);
    case 26: case 27: return offer_packed(input);
    case 28: case 29: return kick(input);
    case 30: return run_loops();
    default: return reset(input);
  }
}

/// Numbers as registers like them: small ones, addresses in RAM, and any.
u64 Machine::value(Input& input, u8 style) {
  switch (style & 7) {
    case 0: case 1: return input.byte();
    case 2: return input.half();
    case 3: return u64(input.half() & 0x1ff) << 12;
    case 4: return 0x1000 + (input.half() & 0xffff);
    case 5: return u64(1) << (input.byte() & 63);
    case 6: return input.word();
    default: return input.take(8);
  }
}

void Machine::access_region(Input& input, bool write) {
  if (regions_.empty()) return;
  const u8 how = input.byte();
  // The board's are part of it, but what is asked for matters more.
  const std::size_t from = (how & 0x80) != 0 && board_regions_ < regions_.size() ? board_regions_ : 0;
  mem::Region& region = *regions_[from + input.byte() % (regions_.size() - from)];
  const unsigned size = 1u << (how & 3);
  if (u64(region.size()) < size) return;
  const u64 last = u64(region.size()) - size;
  const u64 place = (how & 4) != 0 ? input.half() : input.byte();
  // Most registers are aligned; some accesses are not.
  const u64 offset = std::min((how & 8) != 0 ? place : place * ((how & 4) != 0 ? 1 : size), last);
  u64 seen = 0;
  if (write) {
    ignore(region.mmio_write(offset, value(input, how >> 4) & low_mask(size * 8), size, {}));
  } else {
    ignore(region.mmio_read(offset, size, {}, seen));
    note(offset + size, seen & 0xffff);
  }
}

void Machine::access_config(Input& input, bool write) {
  const u8 how = input.byte();
  const unsigned size = 1u << (how % 3);
  const unsigned offset = ((how & 8) != 0 ? input.half() & (kMostConfigBytes - 1) : input.byte()) & ~(size - 1);
  if (functions_.empty()) return;
  hw::PciDevice& function = *functions_[(how & 4) != 0 ? input.byte() % functions_.size() : functions_.size() - 1];
  const mem::MachineLockScope guard(machine_->memory().lock());
  if (write) {
    function.config_write(offset, size, u32(value(input, how >> 4) & low_mask(size * 8)));
  } else {
    static_cast<void>(function.config_read(offset, size));
  }
}

/// As a CPU has it: wherever BARs, windows and shadow memory are by now.
void Machine::access_space(Input& input, bool write) {
  const u8 how = input.byte();
  const bool ports = (how & 4) != 0;
  mem::AddressSpace& space = ports ? machine_->io_ports() : machine_->system_memory();
  const u64 address = ports ? input.half() : (how & 8) != 0 ? kBars + input.word() % 0x100'0000 : input.word();
  const unsigned size = 1u << (how & 3);
  u64 seen = 0;
  if (write) {
    ignore(space.store(address, size, value(input, how >> 4) & low_mask(size * 8)));
  } else {
    ignore(space.load(address, size, seen));
  }
}

void Machine::write_ram(Input& input) {
  const u64 address = 0x1000 + u64(input.half()) * 4;
  const auto bytes = input.bytes(std::min<unsigned>(input.byte(), 64) + 1u);
  ignore(machine_->system_memory().write(address, bytes));
}

void Machine::pass_time(Input& input) {
  run_loops();
  const mem::MachineLockScope guard(machine_->memory().lock());
  // Up to a second: a periodic timer of a microsecond would take too long otherwise.
  const u8 how = input.byte();
  machine_->clock().advance(ClockNs(i64(1) << (how % 24)));
}

void Machine::pull_wire(Input& input) {
  const u16 which = input.half();
  if (!wires_in_.empty()) wires_in_[(which >> 1) % wires_in_.size()].set((which & 1) != 0);
}

void Machine::happen_outside(Input& input) {
  const u8 how = input.byte();
  const auto bytes = input.bytes(how & 4 ? input.half() & 0x7ff : input.byte() & 0x3f);
  for (Stream* stream : streams_) {
    if ((how & 3) == 0) stream->type(bytes);
    if ((how & 3) == 1) {
      stream->happen(how & 8 ? ChardevEvent::Break : how & 16 ? ChardevEvent::Opened : ChardevEvent::Closed);
    }
    if ((how & 3) == 2) stream->set_room(how & 8 ? how >> 4 : ~std::size_t(0));
  }
  if (wire_ != nullptr) {
    if ((how & 3) == 0 || (how & 3) == 3) {
      net::PacketOffload offload;
      if ((how & 32) != 0) offload = {u8(how >> 6), u8(how >> 5), 54, 100, 34, 16};
      wire_->give(bytes, offload);
    }
    if ((how & 3) == 1) wire_->set_link((how & 8) != 0);
    if ((how & 3) == 2) wire_->set_refusing((how & 8) != 0);
  }
  for (hw::Device* device : devices_) {
    const mem::MachineLockScope guard(machine_->memory().lock());
    if (auto* keyboard = dynamic_cast<hw::I8042*>(device)) {
      for (const u8 byte : bytes) {
        if ((how & 1) != 0) keyboard->keyboard().key(byte & 0x7f, (how & 16) != 0, byte >= 0x80);
        else keyboard->mouse().move(i8(byte), i8(how), how >> 5);
      }
      keyboard->pump();
    }
    if (auto* apic = dynamic_cast<hw::LocalApic*>(device)) {
      u64 seen = 0;
      const u32 index = (how & 8) != 0 ? 0x1b : (how & 16) != 0 ? 0x6e0 : 0x800 + (how >> 1 & 0x3f);
      Input rest(bytes);
      if ((how & 1) != 0) static_cast<void>(apic->write_register(index, rest.take(8)));
      else static_cast<void>(apic->read_register(index, seen));
      if ((how & 6) == 6) static_cast<void>(apic->acknowledge());
      if ((how & 6) == 4) apic->set_task_priority(how >> 4);
    }
    if (const auto* screen = dynamic_cast<ui::Screen*>(device); screen != nullptr && (how & 7) == 7) {
      static_cast<void>(screen->picture());
    }
    if (const auto* screen = dynamic_cast<hw::VgaCore*>(device)) static_cast<void>(screen->text_screen());
    if (auto* pic = dynamic_cast<hw::I8259Pair*>(device); pic != nullptr && (how & 1) != 0) pic->acknowledge();
  }
}

void Machine::trouble_disks(Input& input) {
  const u8 how = input.byte();
  if (disks_.empty()) return;
  test::FakeBlockBackend& disk = *disks_[(how >> 4) % disks_.size()];
  switch (how & 7) {
    case 0: disk.hold(); break;
    case 1: disk.release(); break;
    case 2: disk.fail_with = how & 8 ? EIO : ENOSPC; break;
    case 3: disk.fail_with = 0; break;
    case 4:
      disk.read_only = (how & 8) != 0;
      disks_changed_ = true;
      break;
    default: {
      const mem::MachineLockScope guard(machine_->memory().lock());
      if (disk.frontend == nullptr) break;
      if ((how & 7) == 5 && disk.frontend->is_removable()) {
        disk.medium = (how & 8) != 0;
        disk.frontend->medium_changed(disk.medium);
      }
      if ((how & 7) == 6) disk.frontend->eject_requested((how & 8) != 0);
      if ((how & 7) == 7) {
        disk.contents.resize(how & 8 ? kDiskBytes / 2 : kDiskBytes);
        disk.frontend->resized();
      }
    }
  }
  run_loops();
}

// Rings. -------------------------------------------------------------------------------------------------------------

/// What a driver does at first, 3.1.1: the fuzzer would take long to find it.
void Machine::start_virtio(Input& input) {
  const u64 refused = input.word();
  const u8 how = input.byte();
  if (virtio_.empty()) return;
  const mem::MachineLockScope guard(machine_->memory().lock());
  hw::VirtioDevice& v = *virtio_.back();
  v.write_status(0);
  const u8 greeted = hw::virtio::kAcknowledge | hw::virtio::kDriver;
  v.write_status(greeted);
  const u64 features = v.offered_features() & ~((how & 1) != 0 ? refused : 0);
  v.accept_word(0, u32(features));
  v.accept_word(1, u32(features >> 32));
  v.write_status(greeted | hw::virtio::kFeaturesOk);
  rings_.assign(v.queue_count(), {});
  for (u32 i = 0; i < v.queue_count(); i++) {
    auto& setup = v.queue(i)->setup();
    const bool packed = (features & hw::virtio::kFeatureRingPacked) != 0;
    setup.size = std::min<u16>(setup.size, u16(u16(8) << (how >> 1 & 3)));
    setup.descriptors = kRings + i * kRingBytes;
    setup.driver_area = setup.descriptors + kDriverArea;
    setup.device_area = setup.descriptors + kDeviceArea;
    v.queue(i)->set_vector(u16(i));
    rings_[i] = {.avail = 0, .size = setup.size, .wrap = true, .packed = packed};
    ignore(machine_->system_memory().fill(setup.descriptors, 0, kRingBytes));
    v.enable_queue(i);
  }
  v.write_status(u8(greeted | hw::virtio::kFeaturesOk | hw::virtio::kDriverOk));
}

std::optional<Machine::Offer> Machine::begin_offer(Input& input) {
  const u8 how = input.byte();
  if (rings_.empty()) return std::nullopt;
  RingState& ring = rings_[(how & 15) % rings_.size()];
  if (ring.size == 0) return std::nullopt;
  return Offer{.ring = ring,
               .base = kRings + u64(&ring - rings_.data()) * kRingBytes,
               .count = 1 + (how >> 4 & 7u),
               .is_odd = (how & 0x80) != 0};
}

u8 Machine::write_buffer(u64 entry, Input& input) {
  auto& space = machine_->system_memory();
  const u8 shape = input.byte();
  ignore(space.write<Le64>(entry, (shape & 1) != 0 ? value(input, 7) : 0x1000 + u64(input.half())));
  ignore(space.write<Le32>(entry + 8, (shape & 2) != 0 ? input.word() : input.half() & 0xfff));
  return shape;
}

/// A chain in a split ring: descriptors one after the other, flags and lengths as the fuzzer says.
void Machine::offer_split(Input& input) {
  const std::optional<Offer> offer = begin_offer(input);
  if (!offer) return;
  auto& [ring, base, count, is_odd] = *offer;
  auto& space = machine_->system_memory();
  const u16 head = input.byte() % ring.size;
  for (unsigned i = 0; i < count; i++) {
    const u64 entry = base + 16 * ((head + i) % ring.size);
    const u8 shape = write_buffer(entry, input);
    // Usually the next one follows; a rare one is writable, indirect, or ends too early.
    const u16 flags = u16((i + 1 < count ? hw::virtio::kDescNext : 0) ^ (shape >> 4));
    ignore(space.write<Le16>(entry + 12, flags));
    ignore(space.write<Le16>(entry + 14, (shape & 4) != 0 ? u16(input.half()) : u16((head + i + 1) % ring.size)));
  }
  const u64 slot = base + kDriverArea + 4 + 2 * (ring.avail % ring.size);
  ignore(space.write<Le16>(slot, is_odd ? input.half() : head));
  ring.avail = u16(ring.avail + 1);
  ignore(space.write<Le16>(base + kDriverArea + 2, ring.avail));
}

void Machine::offer_packed(Input& input) {
  const std::optional<Offer> offer = begin_offer(input);
  if (!offer) return;
  auto& [ring, base, count, is_odd] = *offer;
  auto& space = machine_->system_memory();
  for (unsigned i = 0; i < count; i++) {
    const u64 entry = base + 16 * ring.avail;
    const u8 shape = write_buffer(entry, input);
    ignore(space.write<Le16>(entry + 12, (shape & 4) != 0 ? input.half() : input.byte()));
    const u16 turn = ring.wrap ? hw::virtio::kDescAvail : hw::virtio::kDescUsed;
    const u16 flags = u16((i + 1 < count ? hw::virtio::kDescNext : 0) ^ (shape >> 4));
    ignore(space.write<Le16>(entry + 14, u16(flags | turn)));
    if (++ring.avail >= ring.size) {
      ring.avail = 0;
      ring.wrap = !ring.wrap;
    }
  }
}

void Machine::kick(Input& input) {
  const u8 how = input.byte();
  if (virtio_.empty()) return;
  {
    const mem::MachineLockScope guard(machine_->memory().lock());
    virtio_.back()->kick((how & 0x80) != 0 ? input.half() : how & 15);
  }
  if ((how & 0x40) == 0) run_loops();
}

// Time and what is queued. -------------------------------------------------------------------------------------------

void Machine::run_loops() {
  for (unsigned round = 0; round < kMostRounds; round++) {
    bool busy = !machine_->main_loop.empty();
    {
      const mem::MachineLockScope guard(machine_->memory().lock());
      machine_->run_main_loop();
    }
    for (test::FakeBlockBackend* disk : disks_) {
      while (disk->loop().run_once(false)) busy = true;
    }
    while (loop_.run_once(false)) busy = true;
    wait_for_folder();
    if (!busy) return;
  }
}

/// Requests to a shared folder are on threads of its own: each is empty when all of them have come to one place.
void Machine::wait_for_folder() {
  if (folder_ == nullptr || virtio_.empty()) return;
  // Shared, for threads are still leaving when we are gone.
  const auto meeting = std::make_shared<std::barrier<>>(hw::Fsdev::kThreads + 1);
  folder_->loop().post([this, meeting] {
    // Behind what a queue that was kicked has posted.
    folder_->loop().post([this, meeting] {
      for (unsigned i = 0; i < hw::Fsdev::kThreads; i++) folder_->submit([meeting] { meeting->arrive_and_wait(); });
    });
  });
  meeting->arrive_and_wait();
}

void Machine::reset(Input& input) {
  const u8 how = input.byte();
  const mem::MachineLockScope guard(machine_->memory().lock());
  if ((how & 3) == 0) {
    hw::reset_all(*machine_->tree().find("/machine"));
  } else if ((how & 3) == 1 && !devices_.empty()) {
    hw::reset_device(*devices_[(how >> 2) % devices_.size()]);
  } else if ((how & 3) == 3 && damages_states_) {
    load_damaged(*devices_[(how >> 2) % devices_.size()], input);
  } else {
    save_and_load(*devices_[(how >> 2) % devices_.size()]);
  }
}

/// What a device saved it must load again, whatever the guest had done to it.
void Machine::save_and_load(hw::Device& device) {
  if (!device.has_saved_state()) return;
  const qom::FieldTree before = device.save();
  auto loaded = device.load(before);
  if (loaded) loaded = device.finish_load();
  if (loaded) return;
  // What a disk offers is part of what was negotiated: one that was replaced may be refused.
  is_over_ = disks_changed_;
  if (is_over_) return;
  fmt::print(stderr, "{}: {}\n", device.type().name(), loaded.error().text());
  EMU_CHECK(loaded.has_value());
}

/// Whatever a state says, it is refused, or the device goes on with it and does no harm.
void Machine::load_damaged(hw::Device& device, Input& input) {
  if (!device.has_saved_state()) return;
  qom::FieldTree state = device.save();
  std::vector<qom::FieldTree*> leaves;
  collect_leaves(state, leaves);
  if (leaves.empty()) return;
  damage(*leaves[input.half() % leaves.size()], value(input, input.byte()), input);
  auto loaded = device.load(state);
  if (loaded) loaded = device.finish_load();
  is_over_ = !loaded;
  if (is_over_) note(loaded.error().text());
}

}  // namespace emu::fuzz
