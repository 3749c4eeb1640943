// SPDX-License-Identifier: Apache-2.0
// A network card on a PCI bus, memory for its rings, and a peer on its wire that records.
#pragma once

#include "hw/net/pci_nic.h"
#include "hw/pci/i440fx.h"
#include "net/register.h"
#include "support/device_bench.h"
#include "unit/net/net_bench.h"

namespace emu::test {

template <typename T>
class NicBench {
 public:
  static constexpr u64 kRam = 16 << 20, kBar = 0xe000'0000, kPorts = 0xc000;

  explicit NicBench(std::function<void(hw::TypeRegistry&)> register_card) : machine_(registry(register_card)) {
    auto ram = machine_.memory().make_ram("pc.ram", kRam);
    EMU_CHECK(ram.has_value());
    ram_ = mem::Region::ram(machine_.memory(), "pc.ram", *ram);
    machine_.system_memory().root()->add(0, ram_);
    host_ = &hw::place<hw::I440FxHost>(machine_);
    host_->set_board({.system = machine_.system_memory().root(), .ram = ram_, .below_4g_bytes = kRam});
    realize(*host_, &machine_.system_bus());
    peer = &machine_.tree().container("/netdevs").adopt("n0", std::make_unique<FakePeer>(loop));
    card_ = &hw::place<T>(machine_);
    hw::Device& base = *card_;
    EXPECT_TRUE(base.set("netdev", std::string("n0")).has_value());
    EXPECT_TRUE(base.set("romfile", std::string()).has_value());
    EXPECT_TRUE(base.set("addr", std::string("03.0")).has_value());
    host_->pci_bus().set_irqs([](u8, unsigned) { return 0u; }, {hw::IrqInput{&pin_, 0}});
    realize(base, &host_->pci_bus());
    hw::reset_all(*machine_.tree().find("/machine"));
    enable();
  }
  /// Posted work must go before the card does.
  ~NicBench() { run(); }

  /// BARs 0 and 1 where they can be reached, bus master on.
  void enable(unsigned memory_bar = 0, unsigned io_bar = 1) {
    card_->config_write(0x10 + 4 * memory_bar, 4, u32(kBar));
    card_->config_write(0x10 + 4 * io_bar, 4, u32(kPorts));
    card_->config_write(0x04, 2, 7);
  }
  /// Runs the wire's loop until nothing is left to do.
  void run() {
    while (loop.run_once(false)) {
    }
  }
  u32 read(u64 offset, unsigned size = 4) {
    u64 value = 0;
    EXPECT_EQ(machine_.system_memory().load(kBar + offset, size, value), mem::MemTxResult::Ok);
    return u32(value);
  }
  void write(u64 offset, u32 value, unsigned size = 4) {
    EXPECT_EQ(machine_.system_memory().store(kBar + offset, size, value), mem::MemTxResult::Ok);
  }
  u32 in(u64 offset, unsigned size) {
    u64 value = 0;
    EXPECT_EQ(machine_.io_ports().load(kPorts + offset, size, value), mem::MemTxResult::Ok);
    return u32(value);
  }
  void out(u64 offset, u32 value, unsigned size) {
    EXPECT_EQ(machine_.io_ports().store(kPorts + offset, size, value), mem::MemTxResult::Ok);
  }
  template <typename V>
  void put(u64 address, V value) {
    EXPECT_EQ(machine_.system_memory().store(address, sizeof(V), value), mem::MemTxResult::Ok);
  }
  template <typename V>
  V get(u64 address) {
    u64 value = 0;
    EXPECT_EQ(machine_.system_memory().load(address, sizeof(V), value), mem::MemTxResult::Ok);
    return V(value);
  }
  void put_bytes(u64 address, const std::vector<u8>& bytes) {
    EXPECT_EQ(machine_.system_memory().write(address, bytes), mem::MemTxResult::Ok);
  }
  std::vector<u8> get_bytes(u64 address, std::size_t count) {
    std::vector<u8> bytes(count);
    EXPECT_EQ(machine_.system_memory().read(address, bytes), mem::MemTxResult::Ok);
    return bytes;
  }
  /// Sets a property that may be set at any time.
  void turn_on(const char* property) { EXPECT_TRUE(static_cast<hw::Device*>(card_)->set(property, true).has_value()); }
  /// The level of the card's pin.
  bool interrupt() const { return pin_.is_high(); }
  void advance(ClockNs distance) { machine_.clock().advance(distance); }
  T& card() { return *card_; }
  BenchMachine& machine() { return machine_; }
  void expect_round_trip() {
    const qom::FieldTree before = card_->save();
    hw::reset_device(*card_);
    ASSERT_TRUE(card_->load(before).has_value());
    auto finished = card_->finish_load();
    ASSERT_TRUE(finished.has_value()) << finished.error().text();
    EXPECT_EQ(before.dump(), card_->save().dump());
  }

  EventLoop loop;
  FakePeer* peer = nullptr;

 private:
  static void realize(hw::Device& device, hw::Bus* bus) {
    auto realized = device.realize_on(bus);
    EXPECT_TRUE(realized.has_value()) << realized.error().text();
  }
  const qom::TypeRegistry& registry(const std::function<void(hw::TypeRegistry&)>& register_card) {
    hw::register_core_types(registry_);
    hw::register_pci_core(registry_);
    hw::register_i440fx(registry_);
    registry_.add_abstract<qom::UserCreatable, qom::Object>();
    net::register_net_types(registry_);
    hw::register_nic_core(registry_);
    register_card(registry_);
    return registry_;
  }

  qom::TypeRegistry registry_;
  IrqProbe pin_;
  BenchMachine machine_;
  mem::RegionRef ram_;
  hw::I440FxHost* host_ = nullptr;
  T* card_ = nullptr;
};

/// A frame from `mac` of `bytes` bytes.
inline std::vector<u8> frame_to(std::string_view mac, std::size_t bytes) {
  std::vector<u8> frame = from_hex(std::string(mac) + " 525400fedcba 88b5");
  while (frame.size() < bytes) frame.push_back(u8(frame.size()));
  return frame;
}

/// An IPv4 TCP frame with `data` bytes, checksums not filled in.
inline std::vector<u8> tcp_frame_without_sums(std::size_t data) {
  std::vector<u8> frame = from_hex(
      "525400fedcba 525400123456 0800"
      "4500 0000 0100 4000 4006 0000 0a00020f 0a000202"
      "1234 0050 00000064 00000001 50 18 ffff 0000 0000");
  frame[16] = u8((40 + data) >> 8);
  frame[17] = u8(40 + data);
  for (std::size_t i = 0; i < data; i++) frame.push_back(u8(i));
  return frame;
}

inline bool has_right_tcp_sum(std::span<const u8> frame) {
  const auto layout = net::parse_frame(frame);
  if (!layout) return false;
  const auto body = frame.subspan(layout->transport, layout->end - layout->transport);
  return net::checksum_fold(net::checksum_add(net::pseudo_header_sum(frame, *layout, u32(body.size())), body)) == 0xffff;
}

}  // namespace emu::test
