// SPDX-License-Identifier: Apache-2.0
// One parallel ATA channel: task file, PIO, PACKET and bus master DMA. ATA/ATAPI-7 volume 2; bus master registers as in
// the 82371SB (PIIX3) datasheet, 290550-002, §2.7.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <vector>

#include "hw/ide/ide_device.h"

namespace emu::hw {

/// Part of a controller, which maps its registers. Machine lock. What the drives carry out runs on the main loop, and
/// the registers say BSY meanwhile. A reset while a transfer is under way is over when the transfer is: until then BSY.
class IdeChannel {
 public:
  /// `irq` is the controller's line; `dma` its bus-master space.
  IdeChannel(IdeBus& bus, IrqLine& irq, std::function<mem::AddressSpace&()> dma);

  /// Power on.
  void reset();
  void show_irq() { irq_.set(state_.irq && !(state_.control & ata::kControlNien)); }

  // Command block (0x1f0), control block (0x3f6) and bus master registers.
  u64 read_command_block(u64 offset, unsigned size);
  void write_command_block(u64 offset, u64 value, unsigned size);
  u64 read_control_block(u64 offset, unsigned size);
  void write_control_block(u64 offset, u64 value, unsigned size);
  u8 read_bus_master(u64 offset);
  void write_bus_master(u64 offset, u8 value);
  u32 bus_master_table() const { return state_.table; }
  void set_bus_master_table(u32 address) { state_.table = address & ~3u; }

  void fields(qom::Archive& ar);
  Result<void> after_load();

 private:
  static constexpr unsigned kCdbBytes = 12;
  enum class Phase : u8 {
    Idle,
    Cdb,      ///< PACKET waits for its 12 bytes
    DataIn,   ///< the guest reads the buffer
    DataOut,  ///< the guest fills the buffer
    WaitDma,  ///< a DMA command waits for the bus master's start bit
    Prepare,  ///< a drive checks a CDB
    Busy,     ///< a drive carries something out
  };
  struct Unit {
    AtaTaskFile registers;
    u8 status = 0, error = 0;
    void fields(qom::Archive& ar);
  };
  struct State {
    std::array<Unit, IdeBus::kUnits> units;
    u8 control = 0, selected = 0;
    bool irq = false;
    bool resetting = false;
    // The command under way.
    Phase phase = Phase::Idle;
    u8 active = 0;
    bool is_packet = false, uses_dma = false;
    AtaPlan plan;
    ScsiCommand packet;
    u64 done = 0;  ///< bytes of its data
    std::vector<u8> buffer;
    u32 position = 0, block_end = 0;  ///< in the buffer: of the present DRQ block
    u16 packet_limit = 0;             ///< byte count of PACKET
    // Bus master.
    u8 command = 0, status = 0;
    u32 table = 0;
  };

  IdeDevice* drive(unsigned unit) const;
  Unit& active() { return state_.units[state_.active]; }
  u8 read_register(u64 offset);
  u8 shown_status(unsigned unit) const;
  void write_register(u64 offset, u8 value);
  u64 read_data(unsigned size);
  void write_data(u64 value, unsigned size);
  void data_block_done();
  void set_irq(bool level);

  void start_command(u8 command);
  void begin_reset();
  void finish_reset(bool raise_irq);
  void abandon();
  void show_signature(unsigned unit);

  void start_transfer();
  void read_part();
  void offer_block(bool raise_irq);
  void write_part();
  void start_packet();
  void packet_checked();
  u32 byte_count_limit();
  void begin_dma();
  bool gather(u64 wanted, std::vector<mem::PinnedSpan>& pins, u64& total, bool& to_the_end);
  void dma_done(IdeRequest& request, bool stays_active, bool is_short);
  void finish(u8 error, bool raise_irq = true);

  std::shared_ptr<IdeRequest> make_request();
  void submit(std::shared_ptr<IdeRequest> request, std::function<void(IdeRequest&)> done,
              std::function<bool(IdeRequest&)> prepare = {});
  void resume_after_load();
  void resume_packet(const IdeDevice& device);

  IdeBus& bus_;
  IrqLine& irq_;
  const std::function<mem::AddressSpace&()> dma_;
  State state_;
  u64 generation_ = 0;      ///< of the command; an older one's end is not heard
  unsigned in_flight_ = 0;  ///< ends yet to come
  bool reset_raises_irq_ = false;
};

}  // namespace emu::hw
