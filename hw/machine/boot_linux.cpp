// SPDX-License-Identifier: Apache-2.0
// Linux's 32-bit boot protocol. Source: Documentation/arch/x86/boot.rst and zero-page.rst of the kernel.
#include <cstring>

#include "hw/machine/boot_image.h"
#include "util/bits.h"

namespace emu::hw::detail {
namespace {

// Offsets in the setup header, and so in the zero page.
enum Header : size_t {
  kAcpiRsdp = 0x70,
  kE820Count = 0x1e8,
  kSetupSects = 0x1f1,
  kBootFlag = 0x1fe,
  kJump = 0x200,
  kMagic = 0x202,
  kVersion = 0x206,
  kTypeOfLoader = 0x210,
  kLoadFlags = 0x211,
  kCode32Start = 0x214,
  kRamdiskImage = 0x218,
  kRamdiskSize = 0x21c,
  kHeapEnd = 0x224,
  kCmdLine = 0x228,
  kInitrdAddrMax = 0x22c,
  kKernelAlignment = 0x230,
  kRelocatable = 0x234,
  kCmdlineSize = 0x238,
  kInitSize = 0x260,
  kPrefAddress = 0x258,
  kE820Table = 0x2d0,
};
constexpr u32 kHdrS = 0x5372'6448;
constexpr u8 kLoadedHigh = 1, kCanUseHeap = 0x80, kLoaderQemu = 0xb0;
constexpr unsigned kMaxE820 = 128;

// Low memory as we lay it out; all below 0x9fc00 and out of the kernel's way.
constexpr u64 kZeroPage = 0x10000, kGdt = 0x11000, kCommandLine = 0x20000, kProtectedKernel = 0x100000;

/// What the header of a kernel that we can boot says.
struct Checked {
  size_t setup_bytes = 0;
  u64 kernel_end = 0;  ///< of the memory that it needs
};

Result<Checked> check_header(const BootRequest& request, const std::vector<u8>& kernel) {
  const u16 version = get<u16>(kernel, kVersion);
  if (version < 0x0206 || !(get<u8>(kernel, kLoadFlags) & kLoadedHigh)) {
    return error("kernel '{}' speaks boot protocol {}.{:02}; 2.06 (Linux 2.6.22) or later is needed", request.kernel,
                 version >> 8, version & 0xff);
  }
  const unsigned setup_sects = get<u8>(kernel, kSetupSects) == 0 ? 4 : get<u8>(kernel, kSetupSects);
  const size_t setup_bytes = (setup_sects + 1) * 512;
  const u64 file_needs = setup_bytes + u64(get<u32>(kernel, 0x1f4)) * 16;  // syssize, in paragraphs
  if (kernel.size() < file_needs) {
    return error("kernel '{}' is truncated: it has {} bytes and says it needs {}", request.kernel, kernel.size(),
                 file_needs);
  }
  const u32 cmdline_max = get<u32>(kernel, kCmdlineSize);
  if (request.append.size() > cmdline_max) {
    return error("-append has {} characters; this kernel takes at most {}", request.append.size(), cmdline_max);
  }

  // From its load address the kernel needs init_size bytes, at its preferred address if it moves there.
  const u64 init_size = version >= 0x020a ? get<u32>(kernel, kInitSize) : (kernel.size() - setup_bytes) * 4;
  const u64 preferred = version >= 0x020a ? get<u64>(kernel, kPrefAddress) : kProtectedKernel;
  const u64 kernel_end = std::max(preferred, kProtectedKernel) + std::max<u64>(init_size, kernel.size() - setup_bytes);
  if (preferred > request.low_ram_end || kernel_end > request.low_ram_end) {
    return error(Error(fmt::format("kernel '{}' needs guest memory up to {} MiB, and there are {} MiB", request.kernel,
                                   (std::max(preferred, kernel_end) + 0xfffff) >> 20, request.low_ram_end >> 20))
                     .with_hint("Give the guest more memory with -m."));
  }
  return Checked{setup_bytes, kernel_end};
}

}  // namespace

bool is_bzimage(const std::vector<u8>& file) {
  return file.size() > 0x268 && get<u16>(file, kBootFlag) == 0xaa55 && get<u32>(file, kMagic) == kHdrS;
}

Result<BootImage> load_bzimage(const BootRequest& request, std::vector<u8> kernel, std::vector<u8> initrd) {
  const auto [setup_bytes, kernel_end] = EMU_TRY(check_header(request, kernel));
  BootImage image;
  std::vector<u8> zero_page(4096);
  // The header ends where its jump instruction leads: 0x202 + the jump's offset byte.
  const size_t header_end = std::min<size_t>(0x202 + get<u8>(kernel, kJump + 1), 0x290);
  std::memcpy(zero_page.data() + kSetupSects, kernel.data() + kSetupSects, header_end - kSetupSects);
  put<u8>(zero_page, kTypeOfLoader, kLoaderQemu);
  put<u8>(zero_page, kLoadFlags, u8(get<u8>(kernel, kLoadFlags) | kCanUseHeap));
  put<u16>(zero_page, kHeapEnd, 0xfe00);
  put<u32>(zero_page, kCode32Start, u32(kProtectedKernel));
  put<u32>(zero_page, kCmdLine, u32(kCommandLine));
  put<u64>(zero_page, kAcpiRsdp, request.acpi_rsdp);

  if (!initrd.empty()) {
    const u64 address =
        EMU_TRY(place_initrd(request, initrd.size(), u64(get<u32>(kernel, kInitrdAddrMax)) + 1, kernel_end));
    put<u32>(zero_page, kRamdiskImage, u32(address));
    put<u32>(zero_page, kRamdiskSize, u32(initrd.size()));
    image.blobs.push_back({"initrd", address, std::move(initrd)});
  }

  const size_t entries = std::min<size_t>(request.memory_map.size(), kMaxE820);
  put<u8>(zero_page, kE820Count, u8(entries));
  for (size_t i = 0; i < entries; i++) {
    const E820Entry& e = request.memory_map[i];
    put<u64>(zero_page, kE820Table + i * 20, e.address);
    put<u64>(zero_page, kE820Table + i * 20 + 8, e.length);
    put<u32>(zero_page, kE820Table + i * 20 + 16, u32(e.type));
  }

  std::vector<u8> command_line(request.append.begin(), request.append.end());
  command_line.push_back(0);
  // Selectors 0x10 and 0x18, as the protocol demands: flat 32-bit code and data.
  std::vector<u8> gdt(32);
  put<u64>(gdt, 0x10, 0x00cf'9b00'0000'ffff);
  put<u64>(gdt, 0x18, 0x00cf'9300'0000'ffff);

  kernel.erase(kernel.begin(), kernel.begin() + i64(setup_bytes));
  image.blobs.push_back({"kernel", kProtectedKernel, std::move(kernel)});
  image.blobs.push_back({"zero page", kZeroPage, std::move(zero_page)});
  image.blobs.push_back({"command line", kCommandLine, std::move(command_line)});
  image.blobs.push_back({"boot GDT", kGdt, std::move(gdt)});
  image.entry.eip = u32(kProtectedKernel);
  image.entry.esi = u32(kZeroPage);
  image.entry.gdt_address = u32(kGdt);
  image.entry.gdt_limit = 31;
  return image;
}

/// Firmware learns memory and tables by itself, and our option ROM (hw/machine/roms/kernel_boot.S) places the initrd.
Result<FirmwareKernel> split_bzimage(const BootRequest& request, std::vector<u8> kernel, std::vector<u8> initrd) {
  const auto [setup_bytes, kernel_end] = EMU_TRY(check_header(request, kernel));
  constexpr u16 kHeapEndOffset = 0xe000 - 0x200;  // from the setup code's start, less 0x200, §"heap_end_ptr"
  FirmwareKernel out;
  if (!initrd.empty()) {
    out.initrd_address = u32(
        EMU_TRY(place_initrd(request, initrd.size(), u64(get<u32>(kernel, kInitrdAddrMax)) + 1, kernel_end)));
  }
  out.initrd = std::move(initrd);
  out.setup.assign(kernel.begin(), kernel.begin() + i64(setup_bytes));
  out.kernel.assign(kernel.begin() + i64(setup_bytes), kernel.end());
  put<u8>(out.setup, kTypeOfLoader, kLoaderQemu);
  put<u8>(out.setup, kLoadFlags, u8(get<u8>(out.setup, kLoadFlags) | kCanUseHeap));
  put<u16>(out.setup, kHeapEnd, kHeapEndOffset);
  put<u32>(out.setup, kCmdLine, FirmwareKernel::kCommandLineAddress);
  out.command_line.assign(request.append.begin(), request.append.end());
  out.command_line.push_back(0);
  return out;
}

}  // namespace emu::hw::detail
