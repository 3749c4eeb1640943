// SPDX-License-Identifier: Apache-2.0
#include "hw/machine/boot_order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hw/ide/ahci.h"
#include "hw/ide/piix3_ide.h"
#include "unit/hw/ide/ide_bench.h"

namespace emu::hw {
namespace {

using testing::ElementsAre;

constexpr u64 kMiB = 1 << 20;

TEST(BootOrder, DrivesByIndexWithThePathsOfOpenFirmware) {
  test::StorageBench bench([](qom::TypeRegistry& registry) {
    register_ide_drives(registry);
    register_piix3_ide(registry);
    register_ahci(registry);
  });
  auto& ide = bench.place_function<Piix3Ide>("01.1");
  auto& ahci = bench.place_function<Ahci>("1f.2");
  bench.add_drive("ide-hd", ide.ide_bus(1), "d0", kMiB, {{"bootindex", i64(5)}, {"unit", u64(1)}});
  bench.add_drive("ide-cd", ahci.ide_bus(3), "d1", kMiB, {{"bootindex", i64(2)}});
  bench.add_drive("ide-hd", ahci.ide_bus(4), "d2", kMiB);
  EXPECT_THAT(boot_order(bench.machine().tree().root()),
              ElementsAre("/pci@i0cf8/pci8086,2922@1f,2/drive@3/disk@0", "/pci@i0cf8/ide@1,1/drive@1/disk@1"));
}

}  // namespace
}  // namespace emu::hw
