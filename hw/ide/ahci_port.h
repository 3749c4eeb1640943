// SPDX-License-Identifier: Apache-2.0
// One port of an AHCI controller. Serial ATA AHCI 1.3.1 (sections as §); FIS layouts as in Serial ATA 2.6, 10.3.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <span>

#include "hw/ide/ide_device.h"

namespace emu::hw {

namespace ahci {

// Port registers, §3.3
enum PortReg : unsigned {
  CLB = 0x00,
  CLBU = 0x04,
  FB = 0x08,
  FBU = 0x0c,
  IS = 0x10,
  IE = 0x14,
  CMD = 0x18,
  TFD = 0x20,
  SIG = 0x24,
  SSTS = 0x28,
  SCTL = 0x2c,
  SERR = 0x30,
  SACT = 0x34,
  CI = 0x38,
};
inline constexpr u32 kDhrs = bit(0), kPss = bit(1), kDss = bit(2), kSdbs = bit(3), kPcs = bit(6), kPrcs = bit(22),
                     kOfs = bit(24), kIfs = bit(27), kHbfs = bit(29), kTfes = bit(30);  // IS, IE
inline constexpr u32 kSt = bit(0), kSud = bit(1), kPod = bit(2), kClo = bit(3), kFre = bit(4), kFr = bit(14),
                     kCr = bit(15), kAtapi = bit(24);  // CMD
inline constexpr u32 kDiagX = bit(26), kDiagN = bit(16);  // SERR
inline constexpr unsigned kSlots = 32;

}  // namespace ahci

/// Machine lock. Commands run on the main loop; queued ones several at a time. What was under way when the port is
/// stopped or reset still moves the guest's memory, so CMD.CR falls, and a reset is over, only when it has ended.
class AhciPort {
 public:
  struct Hooks {
    std::function<mem::AddressSpace&()> dma;
    std::function<void()> interrupt;  ///< IS or IE changed
    std::function<void()> drained;    ///< nothing is under way any more
  };
  AhciPort(IdeBus& bus, Hooks hooks);

  /// Power on, or the controller's reset; only when is_idle(), or with everything under way given up.
  void reset();
  void abandon();
  bool is_idle() const { return in_flight_ == 0; }
  bool has_interrupt() const { return (state_.is & state_.ie) != 0; }

  u32 read(unsigned offset) const;
  void write(unsigned offset, u32 value);

  void fields(qom::Archive& ar);
  Result<void> after_load();
  /// After everything is loaded: what was under way begins again.
  void resume();

 private:
  struct State {
    u64 command_list = 0, received_fis = 0;
    u32 is = 0, ie = 0, cmd = 0, tfd = 0x7f, sig = ~0u, ssts = 0, sctl = 0, serr = 0, sact = 0, ci = 0;
    bool halted = false;            ///< an error: nothing is begun until ST is cleared
    bool soft_reset = false;        ///< between the FIS with SRST and the one without
    bool resetting = false;         ///< COMRESET has ended, what is under way has not
    bool signature_waits = false;   ///< for FRE
  };
  struct Slot {
    u32 flags = 0, table_entries = 0;
    u64 header = 0, table = 0;
    std::array<u8, 64> fis{};
    std::array<u8, 16> packet{};
  };

  IdeDevice* drive() const;
  void write_command(u32 value);
  void write_control(u32 value);
  void stop();
  void settle();
  void finish_reset();
  void send_signature();
  void set_task_file(u8 status, u8 error) { state_.tfd = u32(error) << 8 | status; }
  void raise(u32 bits);

  // ahci_command.cpp
  void issue();
  bool fetch(unsigned number, Slot& slot);
  void start(unsigned number);
  void control_fis(unsigned number, const Slot& slot);
  void start_packet(unsigned number, const Slot& slot, std::shared_ptr<IdeRequest> request);
  bool gather(const Slot& slot, u64 wanted, bool to_guest, std::vector<mem::PinnedSpan>& pins, u64& total);
  void submit(unsigned number, std::shared_ptr<IdeRequest> request, std::function<void(IdeRequest&)> done,
              std::function<bool(IdeRequest&)> prepare = {});
  void command_done(unsigned number, const Slot& slot, IdeRequest& request, u64 moved);
  void queued_done(unsigned number, IdeRequest& request);
  void host_bus_error(unsigned number);
  void post_register_fis(const AtaTaskFile& registers, u8 status, u8 error, bool interrupt);
  void post_pio_setup(const AtaTaskFile& registers, u8 end_status, u64 bytes);
  void post_set_device_bits(u8 status, u8 error, u32 finished);
  void post_fis(unsigned offset, std::span<const u8> fis);

  IdeBus& bus_;
  const Hooks hooks_;
  State state_;
  u32 started_ = 0;       ///< slots with the drive
  u32 queued_ = 0;        ///< those of them that are queued commands
  u64 generation_ = 0;
  unsigned in_flight_ = 0;
};

}  // namespace emu::hw
