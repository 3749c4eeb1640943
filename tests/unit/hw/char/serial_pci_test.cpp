// SPDX-License-Identifier: Apache-2.0
#include "hw/char/serial_pci.h"

#include <gtest/gtest.h>

#include "unit/hw/pci/pci_bench.h"

namespace emu::hw {
namespace {

constexpr u8 kDevfn = 3 << 3;
constexpr u16 kBar = 0xc000;

template <typename T>
class PciSerialBench : public test::I440FxBench {
 public:
  PciSerialBench() {
    types().add<T>("card");
    place_function<T>("03.0");
    config_write(1 << 3, Piix3::PIRQRCA + 2, 11, 1);
    config_write(kDevfn, pci::BAR0, kBar, 4);
    config_write(kDevfn, pci::COMMAND, 1, 2);
  }
};

TEST(PciSerial, IsACardOfClassSerial) {
  PciSerialBench<PciSerial1> bench;
  EXPECT_EQ(bench.config_read(kDevfn, 0, 4), 0x0002'1b36u);
  EXPECT_EQ(bench.config_read(kDevfn, 8, 4) >> 8, 0x070002u);
  EXPECT_EQ(bench.in(kBar + Serial16550::LSR, 1), 0x60u);
}

TEST(PciSerial, FourPortsShareThePin) {
  PciSerialBench<PciSerial4> bench;
  EXPECT_EQ(bench.config_read(kDevfn, 2, 2), 0x0004u);
  for (const u16 port : {u16(0), u16(3)}) {
    bench.out(u16(kBar + 8 * port + Serial16550::SCR), 0x50u + port, 1);
    bench.out(u16(kBar + 8 * port + Serial16550::IER), 0x02, 1);  // the transmitter is empty
  }
  EXPECT_EQ(bench.in(kBar + Serial16550::SCR, 1), 0x50u);
  EXPECT_EQ(bench.in(kBar + 24 + Serial16550::SCR, 1), 0x53u);
  EXPECT_TRUE(bench.isa_irqs[11].is_high());
  EXPECT_EQ(bench.in(kBar + Serial16550::IIR_FCR, 1), 0x02u);
  EXPECT_TRUE(bench.isa_irqs[11].is_high());
  EXPECT_EQ(bench.in(kBar + 24 + Serial16550::IIR_FCR, 1), 0x02u);
  EXPECT_FALSE(bench.isa_irqs[11].is_high());
}

}  // namespace
}  // namespace emu::hw
