// SPDX-License-Identifier: Apache-2.0
// A small PC without CPUs around one device, which a fuzzer's bytes drive as a guest and the outside would.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "fuzz/fuzz_backends.h"
#include "fuzz/fuzz_input.h"
#include "hw/pci/pci_bus.h"
#include "hw/virtio/virtio_device.h"
#include "support/device_bench.h"
#include "support/fake_block_backend.h"
#include "unit/hw/9p/client.h"

namespace emu::hw {
class Fsdev;
}

namespace emu::fuzz {

/// All types of the program's devices, as softmmu/main registers them, and what they hang on.
const qom::TypeRegistry& device_types();
/// Names of those that can be fuzzed: all that are made by -device or boards, but for abstract ones.
std::vector<std::string> fuzzed_devices();

class Machine {
 public:
  /// Made anew for each input, so that a failure needs no more than its own bytes. `mode` chooses between boards and
  /// properties.
  Machine(const std::string& device, u8 mode);
  ~Machine();
  /// Errors: the device could not be made. For the check that all can be.
  const Result<void>& made() const { return made_; }

  /// Ways to the device (and its controller) that inputs have. For the check that each is reached.
  struct Reach {
    unsigned regions = 0;         ///< in which at least one access is answered
    std::string silent_regions;  ///< the others
    unsigned functions = 0, queues = 0, wires = 0;
  };
  Reach reach();

  /// Guest RAM is zeroes, then copies of the input: what a device fetches is the fuzzer's, too.
  void fill_ram(std::span<const u8> bytes);
  /// Carries out accesses and events until the input is used up.
  void run(Input& input);
  /// From now on some of them load states in which a field is another: nobody's own, as an attacker would have it.
  void damage_states() { damages_states_ = true; }

 private:
  static constexpr u64 kRamBytes = 0x1f'0000, kBars = 0xe000'0000, kDiskBytes = 64 << 10;
  static constexpr u64 kRings = 0x4'0000, kRingBytes = 0x4000, kDriverArea = 0x1000, kDeviceArea = 0x2000;
  static constexpr unsigned kMostRounds = 200;

  void make_boards(bool q35);
  Result<void> make(const std::string& device, u8 mode);
  Result<void> plug(const std::string& type, hw::Bus* bus, u8 mode);
  Result<hw::Bus*> bus_for(const qom::Type& type, u8 mode);
  void give_back_ends(hw::Device& device);
  void set_if_there(hw::Device& device, const char* property, const qom::PropertyValue& value);
  void connect_outputs(hw::Device& device);
  void collect(hw::Device& device);
  void collect_region(const mem::RegionRef& region);
  void map_bars(hw::PciDevice& function);

  // Steps, each of one byte that says which, and arguments.
  void step(Input& input);
  void access_region(Input& input, bool write);
  void access_config(Input& input, bool write);
  void access_space(Input& input, bool write);
  void write_ram(Input& input);
  u64 value(Input& input, u8 style);
  void pass_time(Input& input);
  void pull_wire(Input& input);
  void happen_outside(Input& input);
  void trouble_disks(Input& input);
  void start_virtio(Input& input);
  void offer_split(Input& input);
  void offer_packed(Input& input);
  void kick(Input& input);
  void run_loops();
  void wait_for_folder();
  void reset(Input& input);
  void save_and_load(hw::Device& device);
  void load_damaged(hw::Device& device, Input& input);

  struct Wired;
  struct RingState {
    u16 avail = 0, size = 0;
    bool wrap = true, packed = false;
  };
  /// A chain that a ring is to have.
  struct Offer {
    RingState& ring;
    u64 base;
    unsigned count;
    bool is_odd;  ///< its head is anything
  };
  /// Nothing where the device has no such ring.
  std::optional<Offer> begin_offer(Input& input);
  /// A descriptor's address and length; gives the byte that says what else is odd about it.
  u8 write_buffer(u64 entry, Input& input);

  test::IrqProbe sink_;
  EventLoop loop_;
  std::unique_ptr<test::TemporaryFolder> shared_;  ///< what virtio-9p shows
  std::unique_ptr<Wired> wired_;
  std::unique_ptr<test::BenchMachine> machine_;
  mem::RegionRef ram_;
  hw::PciBus* pci_ = nullptr;
  hw::IsaBus* isa_ = nullptr;
  std::vector<hw::Device*> devices_;
  std::vector<mem::RegionRef> regions_;
  std::vector<hw::PciDevice*> functions_;
  std::vector<hw::VirtioDevice*> virtio_;
  std::vector<hw::IrqInput> wires_in_;
  std::vector<RingState> rings_;
  std::vector<test::FakeBlockBackend*> disks_;
  std::vector<Stream*> streams_;
  Wire* wire_ = nullptr;
  hw::Fsdev* folder_ = nullptr;
  std::size_t board_regions_ = 0;    ///< that many of `regions_` are the board's
  std::size_t board_functions_ = 0;  ///< and of `functions_`
  u64 next_bar_ = kBars;
  u16 next_port_ = 0xc000;
  Result<void> made_;
  bool damages_states_ = false;
  bool disks_changed_ = false;
  bool is_over_ = false;  ///< a load failed: the program would end here
};

}  // namespace emu::fuzz
