// SPDX-License-Identifier: Apache-2.0
// Realtek RTL8139C+: the programmer's guide of the RTL8139C(L)+ (sections as §), with the C mode's four transmit buffers
// and receive ring, and the C+ mode's descriptors.
#pragma once

#include <array>

#include "hw/net/pci_nic.h"

namespace emu::hw {

class Rtl8139 final : public PciNic {
 public:
  Rtl8139();
  static void describe(TypeInfo<Rtl8139>& type);
  Result<void> realize() override;
  void unrealize() override;
  void reset_enter() override;
  void reset_hold() override { update_interrupt(); }

 protected:
  bool frame_arrived(std::span<const u8> frame, bool sums_are_good) override;
  std::optional<OutFrame> next_frame() override;
  bool has_more_work() const override;
  void round_done() override { update_interrupt(); }
  void link_moved() override;

 private:
  enum Reg : unsigned {
    IDR0 = 0x00, MAR0 = 0x08, TSD0 = 0x10, TSAD0 = 0x20, RBSTART = 0x30, ERSR = 0x36, CR = 0x37, CAPR = 0x38, CBR = 0x3a,
    IMR = 0x3c, ISR = 0x3e, TCR = 0x40, RCR = 0x44, TCTR = 0x48, MPC = 0x4c, CR9346 = 0x50, CONFIG0 = 0x51,
    CONFIG1 = 0x52, TIMERINT = 0x54, MSR = 0x58, CONFIG3 = 0x59, CONFIG4 = 0x5a, MULINT = 0x5c, TSAD = 0x60, BMCR = 0x62,
    BMSR = 0x64, ANAR = 0x66, ANLPAR = 0x68, ANER = 0x6a, CONFIG5 = 0xd8, TPPOLL = 0xd9, CPCR = 0xe0, RDSAR = 0xe4,
    ETTHR = 0xec, TNPDS = 0x20, THPDS = 0x28,
  };
  /// The registers as bytes, in the guest's order; those with a meaning of their own are handled apart.
  struct State {
    std::array<u8, 256> bytes{};
    u32 tx_next = 0;      ///< C mode: the buffer that is sent next
    u32 cplus_tx = 0, cplus_rx = 0;  ///< C+ mode: the descriptors that come next
    bool cplus_poll = false;
    u32 eeprom_in = 0, eeprom_bits = 0, eeprom_out = 0, eeprom_left = 0;
    i64 timer_base_ns = 0;
  };
  static void fields(Archive& ar, State& s);
  Result<void> check_loaded();

  u64 read(u64 offset, unsigned size);
  void write(u64 offset, u64 value, unsigned size);
  u8 read_byte(unsigned offset) const;
  void write_byte(unsigned offset, u8 value);
  void written(unsigned first, unsigned size);
  u16 get16(unsigned at) const { return u16(state_.bytes[at] | state_.bytes[at + 1] << 8); }
  u32 get32(unsigned at) const { return u32(get16(at)) | u32(get16(at + 2)) << 16; }
  u64 get64(unsigned at) const { return get32(at) | u64(get32(at + 4)) << 32; }
  void put16(unsigned at, u16 value);
  void put32(unsigned at, u32 value);

  void soft_reset();
  void write_eeprom(u8 value);
  void fill_eeprom();
  void cause(u16 bits) { put16(ISR, u16(get16(ISR) | bits)); }
  void update_interrupt();
  void set_timer();
  u32 ticks() const;

  bool is_cplus_receive() const { return (get16(CPCR) & 2) != 0; }
  bool is_cplus_transmit() const { return (get16(CPCR) & 1) != 0; }
  bool passes_filters(std::span<const u8> frame, u16& status) const;
  bool receive_into_ring(std::span<const u8> frame, u16 status);
  bool receive_into_descriptor(std::span<const u8> frame, u16 status);
  void to_ring(u32 offset, std::span<const u8> bytes);
  std::optional<OutFrame> next_buffer();
  std::optional<OutFrame> next_descriptor();
  void apply_offloads(OutFrame& frame, u32 first) const;
  bool is_looped_back() const { return (get32(TCR) >> 17 & 3) == 3; }

  State state_;
  std::array<u16, 64> eeprom_{};
  std::vector<u8> outgoing_;
  bool outgoing_bad_ = false;
  std::optional<u32> outgoing_first_;
  u32 outgoing_vlan_ = 0;
  Timer timer_;
};

void register_rtl8139(TypeRegistry& registry);

}  // namespace emu::hw
