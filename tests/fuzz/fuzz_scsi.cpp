// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: commands to a SCSI disk, a SCSI CD-ROM and an ATAPI drive, with whatever data the initiator has.
#include "fuzz/fuzz_input.h"
#include "fuzz/fuzz_seen.h"
#include "hw/scsi/scsi_unit.h"
#include "support/fake_block_backend.h"

namespace emu::fuzz {
namespace {

constexpr u64 kDiskBytes = 64 << 10, kMostData = 1 << 16;

const qom::TypeRegistry& types() {
  static const auto* registry = [] {
    auto* made = new qom::TypeRegistry;
    test::register_fake_backend(*made);
    return made;
  }();
  return *registry;
}

hw::ScsiUnitConfig config(u8 mode) {
  hw::ScsiUnitConfig made{.product = "QEMU HARDDISK", .serial = "S1", .device_id = "d0"};
  if ((mode & 1) != 0) {
    made.kind = hw::ScsiUnitConfig::Kind::CdRom;
    made.atapi = (mode & 2) != 0;
    made.logical_block = made.physical_block = 2048;
  } else {
    made.removable = (mode & 2) != 0;
    if ((mode & 4) != 0) made.logical_block = made.physical_block = 4096;
    made.dpofua = (mode & 8) != 0;
    made.wwn = mode >> 4;
  }
  return made;
}

class Unit {
 public:
  explicit Unit(u8 mode)
      : tree_(types()), disk_(test::add_disk(tree_, "d0", kDiskBytes)), unit_(disk_, config(mode)) {}

  void step(Input& input) {
    const u8 how = input.byte();
    switch (how >> 5) {
      case 6: return happen(how);
      case 7: disk_.fail_with = (how & 1) != 0 ? EIO : 0; return;
      default: break;
    }
    // The length byte of a transport may say more or less than the command has.
    static constexpr std::array<u8, 8> kLengths = {6, 10, 12, 16, 16, 12, 1, 0};
    const auto cdb = input.bytes(kLengths[how & 7]);
    const hw::ScsiCommand command = unit_.prepare(cdb);
    std::vector<u8> data;
    if (command.direction == hw::ScsiDirection::Out) {
      const u64 there = (how & 8) != 0 ? input.half() : input.byte();
      const auto given = input.bytes(std::min({command.bytes, kMostData, there}));
      data.assign(given.begin(), given.end());
    } else if (command.direction == hw::ScsiDirection::In) {
      data.resize(std::min<u64>(command.bytes, (how & 8) != 0 ? input.half() : kMostData));
    }
    // On the heap of its own, so that one byte too many is seen.
    std::vector<u8> second(data.begin() + i64(data.size() / 2), data.end());
    data.resize(data.size() / 2);
    data.shrink_to_fit();
    const iovec parts[] = {{data.data(), data.size()}, {second.data(), second.size()}};
    const u64 offset = command.is_splittable && (how & 16) != 0 ? u64(input.half()) * unit_.config().logical_block : 0;
    if (offset > command.bytes) return;
    const hw::ScsiResult result = run_sync(disk_.loop(), unit_.execute(command, parts, offset));
    note(command.cdb[0], u64(unit_.last_sense().key) << 16 | result.status);
  }

 private:
  void happen(u8 how) {
    switch (how & 7) {
      case 0: return unit_.reset();
      case 1: return unit_.resized();
      case 2: static_cast<void>(unit_.eject_requested((how & 8) != 0)); return;
      case 3: disk_.medium = (how & 8) != 0; return unit_.medium_changed(disk_.medium);
      case 4: disk_.contents.resize((how & 8) != 0 ? kDiskBytes / 2 + 512 : kDiskBytes); return unit_.resized();
      case 5: disk_.read_only = (how & 8) != 0; return;
      case 6: disk_.discard_ok = (how & 8) != 0; return;
      default: static_cast<void>(unit_.last_sense()); return;
    }
  }

  qom::ObjectTree tree_;
  test::FakeBlockBackend& disk_;
  hw::ScsiUnit unit_;
};

}  // namespace
}  // namespace emu::fuzz

extern "C" int LLVMFuzzerTestOneInput(const emu::u8* data, std::size_t size) {
  emu::fuzz::Input input({data, size});
  emu::fuzz::Unit unit(input.byte());
  while (!input.is_empty()) unit.step(input);
  return 0;
}
