// SPDX-License-Identifier: Apache-2.0
// A guest that is entered without firmware: what lies in memory at reset, and where and how the boot CPU starts.
#pragma once

#include <string>
#include <vector>

#include "softmmu/memory/memory.h"
#include "util/result.h"

namespace emu::hw {

/// Types of the memory map, as in INT 15h E820h (ACPI specification, "System Address Map Interfaces").
enum class E820Type : u32 { Ram = 1, Reserved = 2, Acpi = 3, AcpiNvs = 4 };
struct E820Entry {
  u64 address = 0;
  u64 length = 0;
  E820Type type = E820Type::Ram;
};

/// Bytes that are put into memory at every reset.
struct BootBlob {
  std::string what;  ///< "kernel", "initrd": for errors and info roms
  u64 address = 0;
  std::vector<u8> bytes;
};

/// 32-bit protected mode, flat segments, paging and interrupts off; selectors as the protocol wants.
struct BootEntry {
  u32 eip = 0, eax = 0, ebx = 0, esi = 0;
  u32 gdt_address = 0;
  u16 gdt_limit = 0;
  u16 cs = 0x10, ds = 0x18;
};

struct BootImage {
  std::vector<BootBlob> blobs;
  BootEntry entry;
};

/// What the loader is told by the board.
struct BootRequest {
  std::string kernel, initrd, append;
  std::vector<E820Entry> memory_map;
  u64 low_ram_end = 0;  ///< first byte behind usable RAM below 4 GiB; the initrd goes below it
  u64 acpi_rsdp = 0;    ///< 0: none
};

/// Loads a bzImage, an ELF file with the PVH note, or a multiboot 1 kernel, whichever it is.
/// Errors: unreadable, truncated or for another processor; initrd that does not fit.
Result<BootImage> load_boot_image(const BootRequest& request);

/// A Linux kernel that firmware hands over to: what goes into fw_cfg. Addresses are where our option ROM puts it.
struct FirmwareKernel {
  static constexpr u32 kSetupAddress = 0x10000, kCommandLineAddress = 0x20000, kKernelAddress = 0x100000;
  std::vector<u8> setup;         ///< real-mode part, its header filled in but for the initrd
  std::vector<u8> kernel;        ///< protected-mode part
  std::vector<u8> command_line;  ///< with its terminating zero
  std::vector<u8> initrd;
  u32 initrd_address = 0;  ///< where it would fit below `low_ram_end`; 0: there is none
};
/// Loads a bzImage for that. The request's memory map and tables are not looked at: firmware has its own.
Result<FirmwareKernel> load_firmware_kernel(const BootRequest& request);

/// Reads a whole file. Error names it.
Result<std::vector<u8>> read_file(const std::string& path, const std::string& what);

namespace detail {
bool is_bzimage(const std::vector<u8>& file);
Result<BootImage> load_bzimage(const BootRequest& request, std::vector<u8> kernel, std::vector<u8> initrd);
Result<FirmwareKernel> split_bzimage(const BootRequest& request, std::vector<u8> kernel, std::vector<u8> initrd);
Result<BootImage> load_multiboot(const BootRequest& request, const std::vector<u8>& kernel, std::vector<u8> initrd,
                                 size_t header);
Result<BootImage> load_pvh(const BootRequest& request, const std::vector<u8>& kernel, std::vector<u8> initrd);
/// Where the initrd goes: page-aligned, as high as possible below `limit` and above `floor`.
Result<u64> place_initrd(const BootRequest& request, u64 size, u64 limit, u64 floor);
template <typename T>
T get(const std::vector<u8>& bytes, size_t at) {
  T v{};
  if (at + sizeof(T) <= bytes.size()) __builtin_memcpy(&v, bytes.data() + at, sizeof(T));
  return v;
}
template <typename T>
void put(std::vector<u8>& bytes, size_t at, T v) {
  EMU_CHECK(at + sizeof(T) <= bytes.size());
  __builtin_memcpy(bytes.data() + at, &v, sizeof(T));
}
}  // namespace detail

}  // namespace emu::hw
