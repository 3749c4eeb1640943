// SPDX-License-Identifier: Apache-2.0
// A kernel that is handed to firmware: its pieces, and the option ROM that starts it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <numeric>

#include "hw/machine/boot_image.h"
#include "hw/machine/option_roms.h"

namespace emu::hw {
namespace {

using detail::get;
using detail::put;
using testing::HasSubstr;

/// A folder of files that goes away.
class FirmwareKernelTest : public testing::Test {
 protected:
  FirmwareKernelTest() { EXPECT_NE(mkdtemp(folder_), nullptr); }
  ~FirmwareKernelTest() override {
    for (const char* name : {"kernel", "initrd"}) unlink(path(name).c_str());
    rmdir(folder_);
  }
  std::string path(const std::string& name) const { return std::string(folder_) + "/" + name; }
  void write(const std::string& name, const std::vector<u8>& bytes) {
    std::ofstream(path(name), std::ios::binary).write(reinterpret_cast<const char*>(bytes.data()), i64(bytes.size()));
  }
  /// Two setup sectors behind the boot sector, and 4 KiB of kernel.
  static std::vector<u8> bzimage() {
    std::vector<u8> file(3 * 512 + 4096, 0x5a);
    put<u8>(file, 0x1f1, 2);
    put<u32>(file, 0x1f4, 4096 / 16);
    put<u16>(file, 0x1fe, 0xaa55);
    put<u32>(file, 0x202, 0x5372'6448);
    put<u16>(file, 0x206, 0x020f);
    put<u8>(file, 0x211, 1);
    put<u32>(file, 0x22c, 0x7fff'ffff);
    put<u32>(file, 0x238, 255);
    put<u64>(file, 0x258, 0x100'0000);
    put<u32>(file, 0x260, 0x10'0000);
    return file;
  }
  BootRequest request() const { return {path("kernel"), "", "console=ttyS0", {}, 64 << 20, 0}; }

  char folder_[32] = "/tmp/firmware-kernel-XXXXXX";
};

TEST_F(FirmwareKernelTest, IsSplitBehindItsSetupSectors) {
  write("kernel", bzimage());
  const auto kernel = load_firmware_kernel(request());
  ASSERT_TRUE(kernel.has_value()) << kernel.error().text();
  EXPECT_EQ(kernel->setup.size(), 3u * 512);
  EXPECT_EQ(kernel->kernel, std::vector<u8>(4096, 0x5a));
  EXPECT_EQ(std::string(kernel->command_line.begin(), kernel->command_line.end()), std::string("console=ttyS0\0", 14));
  EXPECT_EQ(kernel->initrd_address, 0u);
}

TEST_F(FirmwareKernelTest, HeaderTellsWhereCommandLineAndHeapAre) {
  write("kernel", bzimage());
  const auto kernel = load_firmware_kernel(request());
  ASSERT_TRUE(kernel.has_value()) << kernel.error().text();
  EXPECT_EQ(get<u32>(kernel->setup, 0x228), 0x20000u);
  EXPECT_EQ(get<u16>(kernel->setup, 0x224), 0xde00u);
  EXPECT_EQ(get<u8>(kernel->setup, 0x211), 0x81u);
  EXPECT_NE(get<u8>(kernel->setup, 0x210), 0u);
}

TEST_F(FirmwareKernelTest, InitrdLargerThanMemoryIsRefused) {
  write("kernel", bzimage());
  write("initrd", std::vector<u8>(40 << 20));
  BootRequest wanted = request();
  wanted.initrd = path("initrd");
  EXPECT_TRUE(load_firmware_kernel(wanted).has_value());
  wanted.low_ram_end = 48 << 20;
  const auto kernel = load_firmware_kernel(wanted);
  ASSERT_FALSE(kernel.has_value());
  EXPECT_THAT(kernel.error().text(), HasSubstr("does not fit"));
}

TEST_F(FirmwareKernelTest, ElfKernelsNeedDirectEntry) {
  std::vector<u8> elf(4096);
  put<u32>(elf, 0, 0x464c'457f);
  put<u16>(elf, 18, 62);
  write("kernel", elf);
  const auto kernel = load_firmware_kernel(request());
  ASSERT_FALSE(kernel.has_value());
  EXPECT_THAT(kernel.error().text(), HasSubstr("is no bzImage"));
}

TEST(KernelBootRom, IsAnOptionRomWhoseBytesSumToZero) {
  const std::vector<u8> rom = kernel_boot_rom();
  ASSERT_GE(rom.size(), 512u);
  EXPECT_EQ(get<u16>(rom, 0), 0xaa55u);
  EXPECT_EQ(rom[2] * 512u, rom.size());
  EXPECT_EQ(u8(std::accumulate(rom.begin(), rom.end(), 0)), 0);
}

TEST(KernelBootRom, HasAPlugAndPlayHeaderWithABootstrapEntry) {
  const std::vector<u8> rom = kernel_boot_rom();
  const size_t pnp = get<u16>(rom, 0x1a);
  ASSERT_LE(pnp + 32, rom.size());
  EXPECT_EQ(get<u32>(rom, pnp), 0x506e'5024u);  // "$PnP"
  EXPECT_EQ(u8(std::accumulate(rom.begin() + i64(pnp), rom.begin() + i64(pnp) + 32, 0)), 0);
  const u16 bootstrap = get<u16>(rom, pnp + 26);
  EXPECT_GT(bootstrap, pnp);
  EXPECT_LT(bootstrap, rom.size());
}

}  // namespace
}  // namespace emu::hw
