// SPDX-License-Identifier: Apache-2.0
// fw_cfg: how the board tells firmware and kernels what it knows. QEMU docs/specs/fw_cfg.txt (sections as §).
//
//   ports "fwcfg" 0x510..0x511     selector (16 bits) and data (8 bits)
//   ports "fwcfg.dma" 0x514..0x51b address of a DMA request, big-endian
#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "hw/core/sysbus.h"

namespace emu::hw {

class FwCfg final : public SysBusDevice {
 public:
  /// Items with fixed selectors. Those above 0x8000 are of x86.
  enum Key : u16 {
    SIGNATURE = 0x00,
    ID = 0x01,
    UUID = 0x02,
    RAM_SIZE = 0x03,
    NOGRAPHIC = 0x04,
    NB_CPUS = 0x05,
    MACHINE_ID = 0x06,
    KERNEL_ADDR = 0x07,
    KERNEL_SIZE = 0x08,
    KERNEL_CMDLINE = 0x09,
    INITRD_ADDR = 0x0a,
    INITRD_SIZE = 0x0b,
    BOOT_DEVICE = 0x0c,
    NUMA = 0x0d,
    BOOT_MENU = 0x0e,
    MAX_CPUS = 0x0f,
    KERNEL_ENTRY = 0x10,
    KERNEL_DATA = 0x11,
    INITRD_DATA = 0x12,
    CMDLINE_ADDR = 0x13,
    CMDLINE_SIZE = 0x14,
    CMDLINE_DATA = 0x15,
    SETUP_ADDR = 0x16,
    SETUP_SIZE = 0x17,
    SETUP_DATA = 0x18,
    FILE_DIR = 0x19,
    FILE_FIRST = 0x20,
    ACPI_TABLES = 0x8000,
    SMBIOS_ENTRIES = 0x8001,
    IRQ0_OVERRIDE = 0x8002,
    E820_TABLE = 0x8003,
    HPET = 0x8004,
  };
  static constexpr u16 kPort = 0x510, kDmaPort = 0x514;
  static constexpr size_t kNameBytes = 56, kMaxFiles = 0x1000;
  using Bytes = std::vector<u8>;
  using Provider = std::function<Bytes()>;
  using Written = std::function<void(const Bytes&)>;

  static void describe(TypeInfo<FwCfg>& type);
  Result<void> realize() override;
  void reset_enter() override;

  // By the board, before the machine runs. Adding a key or a name again replaces what was there.
  void add_bytes(u16 key, Bytes data);
  void add_u16(u16 key, u16 value);
  void add_u32(u16 key, u32 value);
  void add_u64(u16 key, u64 value);
  void add_string(u16 key, std::string_view text);  ///< with its terminating zero
  void add_file(const std::string& name, Bytes data);
  /// Contents made when firmware first looks after each reset; for what depends on how firmware set up the chipset.
  void add_file(const std::string& name, Provider provider);
  /// A file the guest may change by DMA; `written` hears of every write. Its size stays.
  void add_writable_file(const std::string& name, Bytes data, Written written = {});
  void remove_file(const std::string& name) { files_.erase(name); }
  bool has_file(const std::string& name) const { return files_.count(name) != 0; }
  /// Contents as the guest would read them; null when there is no such file.
  const Bytes* file(const std::string& name);
  std::vector<std::string> file_names() const;

 private:
  struct Item {
    Bytes data;
    Bytes initial;  ///< of a writable file, for reset
    Provider provider;
    Written written;
    bool made = false;  ///< provider has run since reset
    bool writable = false;
  };
  struct State {
    u16 key = 0;
    u32 offset = 0;
    u64 dma_address = 0;
  };
  // §"DMA interface"
  static constexpr u32 kDmaError = bit(0), kDmaRead = bit(1), kDmaSkip = bit(2), kDmaSelect = bit(3),
                       kDmaWrite = bit(4);

  void fields(Archive& ar);
  Result<void> after_load();
  Item* selected();
  void refresh(Item& item);
  void build_directory();
  void select(u16 key);
  u8 read_byte();
  void run_dma();
  bool transfer(Item* item, u32 control, u64 address, u32 length);

  u64 read_port(u64 offset, unsigned size);
  void write_port(u64 offset, u64 value, unsigned size);
  u64 read_dma(u64 offset, unsigned size);
  void write_dma(u64 offset, u64 value, unsigned size);

  bool dma_enabled_ = true;
  std::map<u16, Item> items_;
  std::map<std::string, Item> files_;  ///< selectors count up from FILE_FIRST in this order
  Item directory_;
  State state_;
};

void register_fw_cfg(TypeRegistry& registry);

}  // namespace emu::hw
