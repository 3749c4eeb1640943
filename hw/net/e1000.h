// SPDX-License-Identifier: Apache-2.0
// Intel's gigabit cards of the 8254x family. "PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's
// Manual" (SDM), 317453; names of registers and fields are the manual's, sections as §.
#pragma once

#include <array>

#include "hw/net/pci_nic.h"

namespace emu::hw {

/// Registers, rings and offloads as all cards of the family have them.
class E1000Core : public PciNic {
 public:
  static constexpr const char* kTypeName = "e1000-core";
  static void describe(TypeInfo<E1000Core>& type);

  Result<void> realize() override;
  void unrealize() override;
  void reset_enter() override;
  void reset_hold() override;

 protected:
  enum Reg : hwaddr {
    CTRL = 0x0000, STATUS = 0x0008, EECD = 0x0010, EERD = 0x0014, CTRL_EXT = 0x0018, FLA = 0x001c, MDIC = 0x0020,
    FCAL = 0x0028, FCAH = 0x002c, FCT = 0x0030, VET = 0x0038, ICR = 0x00c0, ITR = 0x00c4, ICS = 0x00c8, IMS = 0x00d0,
    IMC = 0x00d8, RCTL = 0x0100, FCTTV = 0x0170, TXCW = 0x0178, RXCW = 0x0180, TCTL = 0x0400, TIPG = 0x0410,
    AIT = 0x0458, LEDCTL = 0x0e00, PBA = 0x1000, FCRTL = 0x2160, FCRTH = 0x2168, RDBAL = 0x2800, RDBAH = 0x2804,
    RDLEN = 0x2808, RDH = 0x2810, RDT = 0x2818, RDTR = 0x2820, RXDCTL = 0x2828, RADV = 0x282c, RSRPD = 0x2c00,
    TDBAL = 0x3800, TDBAH = 0x3804, TDLEN = 0x3808, TDH = 0x3810, TDT = 0x3818, TIDV = 0x3820, TXDCTL = 0x3828,
    TADV = 0x382c, TSPMT = 0x3830, STATISTICS = 0x4000, RXCSUM = 0x5000, MTA = 0x5200, RA = 0x5400, VFTA = 0x5600,
    WUC = 0x5800, WUFC = 0x5808, WUS = 0x5810, IPAV = 0x5838, MANC = 0x5820, WUPL = 0x5900,
  };
  // Interrupt causes, §13.4.17.
  static constexpr u32 kTxdw = bit(0), kTxqe = bit(1), kLsc = bit(2), kRxdmt0 = bit(4), kRxo = bit(6), kRxt0 = bit(7),
                       kMdac = bit(9);
  static constexpr u32 kCauses = 0x0001'f6df;

  struct Ring {
    u32 low = 0, high = 0, bytes = 0, head = 0, tail = 0;
    u64 base() const { return u64(high) << 32 | low; }
    u32 count() const { return bytes / 16; }
    /// Whether head and tail lie in it.
    bool is_sound() const { return count() != 0 && head < count() && tail < count(); }
    u32 used() const { return tail >= head ? tail - head : count() - head + tail; }
  };
  /// What a context descriptor says, §3.3.6.
  struct Context {
    u32 ip = 0, tcp = 0, command = 0, segment = 0;
  };
  struct State {
    u32 ctrl = 0, eecd = 0, eerd = 0, ctrl_ext = 0, fla = 0, mdic = 0, fcal = 0, fcah = 0, fct = 0, vet = 0;
    u32 icr = 0, itr = 0, ims = 0, rctl = 0, fcttv = 0, txcw = 0, rxcw = 0, tctl = 0, tipg = 0, ait = 0, ledctl = 0;
    u32 pba = 0, fcrtl = 0, fcrth = 0, rdtr = 0, rxdctl = 0, radv = 0, rsrpd = 0, tidv = 0, txdctl = 0, tadv = 0;
    u32 tspmt = 0, rxcsum = 0, wuc = 0, wufc = 0, wus = 0, ipav = 0, manc = 0;
    Ring rx, tx;
    Context checksum, segmentation;
    std::array<u32, 64> statistics{};
    std::array<u32, 128> mta{}, vfta{};
    std::array<u32, 32> ra{};
    std::array<u16, 32> phy{};
    // The serial EEPROM's state, §5.3: bits of the command so far, and the word that is shifted out.
    u32 eeprom_in = 0, eeprom_bits = 0, eeprom_out = 0, eeprom_left = 0;
  };

  /// The chip in particular.
  struct Chip {
    u16 device_id = 0;
    u16 phy_id2 = 0;
    u32 status = 0;  ///< bits of STATUS besides link, duplex and speed
    bool eerd_of_82574 = false;  ///< address and DONE where the newer parts have them
    u32 causes = kCauses;        ///< bits of ICR and IMS
    u32 eecd = 0;                ///< more bits of EECD that read as one
  };
  E1000Core(const PciIdentity& identity, const Chip& chip) : PciNic(identity), chip_(chip) {}

  template <typename T>
  static RegisterTable<T, State>& describe_registers(TypeInfo<T>& type);
  static void fields(Archive& ar, State& s);
  Result<void> check_loaded();

  // PciNic
  bool frame_arrived(std::span<const u8> frame, bool sums_are_good) override;
  std::optional<OutFrame> next_frame() override;
  bool has_more_work() const override;
  void round_done() override;
  void link_moved() override;

  /// Causes appear in ICR; the pin follows by round_done() or at once by update_interrupt().
  virtual void cause(u32 bits) { state_.icr |= bits; }
  virtual void update_interrupt();
  /// From one interrupt to the next, of a throttling register's value.
  ClockNs least_distance(u32 throttle) const;
  virtual void chip_reset() {}

  // Receiving. -------------------------------------------------------------------------------------------------------
  struct Received {
    u16 checksum = 0, vlan = 0;
    u8 status = 0, errors = 0;
    const net::FrameLayout* layout = nullptr;
  };
  static constexpr u8 kRxDd = 0x01, kRxEop = 0x02, kIxsm = 0x04, kVp = 0x08, kUdpcs = 0x10, kTcpcs = 0x20, kIpcs = 0x40,
                      kPif = 0x80;
  static constexpr u8 kTcpe = 0x20, kIpe = 0x40;
  /// Writes one descriptor back: `bytes` of the frame are in its buffer. §3.2.3.
  virtual void write_back(u64 descriptor, u16 bytes, bool is_last, const Received& received);
  u32 receive_buffer_bytes() const;

  // Registers.
  u32 read_status() const;
  void write_ctrl(u32 value);
  u32 read_eecd() const;
  void write_eecd(u32 value);
  void write_eerd(u32 value);
  void write_mdic(u32 value);
  virtual u32 read_icr();
  void write_icr(u32 value);
  void write_ics(u32 value);
  void write_ims(u32 value);
  void write_imc(u32 value);
  void write_rctl(u32 value);
  void write_tctl(u32 value);
  void write_rdt(u32 value);
  void write_tdt(u32 value);
  u32 read_statistic(unsigned index);
  u32 read_rdbal() const { return state_.rx.low; }
  void write_rdbal(u32 value) { state_.rx.low = value & ~0xfu; }
  u32 read_rdbah() const { return state_.rx.high; }
  void write_rdbah(u32 value) { state_.rx.high = value; }
  u32 read_rdlen() const { return state_.rx.bytes; }
  void write_rdlen(u32 value) { state_.rx.bytes = value & 0xfff80; }
  u32 read_rdh() const { return state_.rx.head; }
  void write_rdh(u32 value) { state_.rx.head = value & 0xffff; }
  u32 read_rdt() const { return state_.rx.tail; }
  u32 read_tdbal() const { return state_.tx.low; }
  void write_tdbal(u32 value) { state_.tx.low = value & ~0xfu; }
  u32 read_tdbah() const { return state_.tx.high; }
  void write_tdbah(u32 value) { state_.tx.high = value; }
  u32 read_tdlen() const { return state_.tx.bytes; }
  void write_tdlen(u32 value) { state_.tx.bytes = value & 0xfff80; }
  u32 read_tdh() const { return state_.tx.head; }
  void write_tdh(u32 value) { state_.tx.head = value & 0xffff; }
  u32 read_tdt() const { return state_.tx.tail; }
  u32 read_ctrl() const { return state_.ctrl; }
  u32 read_eerd() const { return state_.eerd; }
  u32 read_mdic() const { return state_.mdic; }
  u32 read_ims() const { return state_.ims; }
  u32 read_rctl() const { return state_.rctl; }
  u32 read_tctl() const { return state_.tctl; }

  State state_;
  const Chip chip_;
  Timer throttle_;
  bool asserted_ = false;
  std::array<u16, 64> eeprom_{};

 private:
  void fill_eeprom();
  void reset_registers();
  u16 read_phy(unsigned reg) const;
  void write_phy(unsigned reg, u16 value);
  bool is_looped_back() const;

  // Statistics by their offset, §13.7.
  void count(unsigned offset, u32 amount = 1);
  void count_bytes(unsigned offset, u64 amount);
  void count_size(unsigned first_offset, std::size_t bytes);

  bool passes_filters(std::span<const u8> frame);
  bool passes_address(std::span<const u8> frame) const;
  void check_sums(std::span<const u8> frame, bool are_good, Received& received) const;

  struct DataDescriptor;
  bool add_data(const DataDescriptor& descriptor);
  OutFrame finish_frame();
  void write_tx_status(u64 address, u32 upper, bool report);

  bool mitigation_ = false;
  std::vector<u8> incoming_;     ///< a frame with more or less in it than came; keeps its memory
  std::vector<u8> outgoing_;     ///< the frame whose descriptors are being read
  bool outgoing_bad_ = false;    ///< it is too long, or its memory is not there: it will not be sent
  std::optional<u32> outgoing_first_;  ///< the first data descriptor's options of it
  u32 outgoing_upper_ = 0;
  ClockNs next_interrupt_{0};
};

/// 82540EM.
class E1000 final : public E1000Core {
 public:
  E1000();
  static void describe(TypeInfo<E1000>& type);
  Result<void> realize() override;

 private:
  u64 read_io(u64 offset, unsigned size);
  void write_io(u64 offset, u64 value, unsigned size);
  const RegisterTable<E1000, State>& table() const;
  u32 io_address_ = 0;
};

void register_e1000(TypeRegistry& registry);

}  // namespace emu::hw
