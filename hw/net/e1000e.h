// SPDX-License-Identifier: Apache-2.0
// Intel's 82574L: an 8254x on PCI Express with extended receive descriptors and MSI-X. "Intel 82574 GbE Controller Family
// Datasheet", 317694; sections as §. One queue each way: the second is not there.
#pragma once

#include "hw/net/e1000.h"

namespace emu::hw {

class E1000e final : public E1000Core {
 public:
  E1000e();
  static void describe(TypeInfo<E1000e>& type);
  Result<void> realize() override;

 protected:
  void cause(u32 bits) override;
  void update_interrupt() override;
  void chip_reset() override;
  u32 read_icr() override;
  void write_back(u64 descriptor, u16 bytes, bool is_last, const Received& received) override;
  bool frame_arrived(std::span<const u8> frame, bool sums_are_good) override;
  void message_vectors_changed() override { update_interrupt(); }

 private:
  static constexpr unsigned kVectors = 5;
  /// What the 82574 has besides.
  struct Extra {
    u32 eiac = 0, iam = 0, ivar = 0, extcnf_ctrl = 0, poemb = 0, pbs = 0, rfctl = 0, mrqc = 0, tarc0 = 0, tarc1 = 0;
    u32 gcr = 0, functag = 0, swsm = 0, swsm2 = 0, fcrtv = 0, manc2h = 0, tsynctx = 0, tsyncrx = 0, timinca = 0;
    u32 rxcfgl = 0, kmrnctrlsta = 0, psrctl = 0;
    std::array<u32, kVectors> eitr{};
    std::array<u32, 32> reta{};
    std::array<u32, 10> rssrk{};
    u32 sent = 0;  ///< causes whose message went and that are still set
  };
  void all_fields(Archive& ar);
  bool send_messages();
  u32 read_eemngctl() const { return 0x4'0000; }  // its configuration is always done
  void write_ivar(u32 value);
  u32 read_ivar() const { return extra_.ivar; }
  template <u32 Extra::*kMember>
  u32 get() const {
    return extra_.*kMember;
  }
  template <u32 Extra::*kMember>
  void put(u32 value) {
    extra_.*kMember = value;
  }
  u32 read_eitr(unsigned index) const { return extra_.eitr[index]; }
  void write_eitr(unsigned index, u32 value) { extra_.eitr[index] = value & 0xffff; }
  u32 read_reta(unsigned index) const { return extra_.reta[index]; }
  void write_reta(unsigned index, u32 value) { extra_.reta[index] = value; }
  u32 read_rssrk(unsigned index) const { return extra_.rssrk[index]; }
  void write_rssrk(unsigned index, u32 value) { extra_.rssrk[index] = value; }
  u64 read_flash(u64, unsigned) { return ~u64(0); }
  void write_flash(u64, u64, unsigned) {}
  u64 read_io(u64 offset, unsigned size);
  void write_io(u64 offset, u64 value, unsigned size);
  const RegisterTable<E1000e, State>& table() const;

  Extra extra_;
  u32 io_address_ = 0;
  std::array<ClockNs, kVectors> next_message_{};
};

void register_e1000e(TypeRegistry& registry);

}  // namespace emu::hw
