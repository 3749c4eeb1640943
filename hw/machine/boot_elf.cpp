// SPDX-License-Identifier: Apache-2.0
// ELF kernels: multiboot 1 (Multiboot Specification 0.6.96) and PVH (Xen's x86 HVM direct boot ABI, start_info version
// 1).
#include <cstring>

#include "hw/machine/boot_image.h"
#include "util/bits.h"

namespace emu::hw::detail {
namespace {

constexpr u64 kInfo = 0x9000, kCommandLine = 0x20000, kGdt = 0x11000, kMaxCommandLine = 0x10000;
constexpr u32 kElf = 0x464c'457f;

struct Segment {
  u64 offset, address, file_bytes, memory_bytes;
};

bool is_elf64(const std::vector<u8>& file) { return get<u8>(file, 4) == 2; }

/// A kernel file cut off, or with headers that point out of it.
tl::unexpected<Error> broken(const BootRequest& request, const std::string& why) {
  return error("kernel '{}' is truncated or damaged: {}", request.kernel, why);
}

/// Program headers of `type`.
Result<std::vector<Segment>> program_headers(const BootRequest& request, const std::vector<u8>& file, u32 type) {
  const bool wide = is_elf64(file);
  const u64 table = wide ? get<u64>(file, 32) : get<u32>(file, 28);
  const unsigned size = get<u16>(file, wide ? 54 : 42), count = get<u16>(file, wide ? 56 : 44);
  if (size < (wide ? 56u : 32u) || table > file.size() || u64(size) * count > file.size() - table) {
    return broken(request, "the program header table lies behind its end");
  }
  std::vector<Segment> found;
  for (unsigned i = 0; i < count; i++) {
    const size_t at = size_t(table) + size_t(i) * size;
    if (get<u32>(file, at) != type) continue;
    const Segment s = wide ? Segment{get<u64>(file, at + 8), get<u64>(file, at + 24), get<u64>(file, at + 32),
                                     get<u64>(file, at + 40)}
                           : Segment{get<u32>(file, at + 4), get<u32>(file, at + 12), get<u32>(file, at + 16),
                                     get<u32>(file, at + 20)};
    if (s.offset > file.size() || s.file_bytes > file.size() - s.offset || s.file_bytes > s.memory_bytes) {
      return broken(request, fmt::format("segment {} lies behind its end", i));
    }
    found.push_back(s);
  }
  return found;
}

/// Copies the loadable segments; returns the end of the highest.
Result<u64> load_segments(const BootRequest& request, const std::vector<u8>& file, BootImage& image) {
  u64 end = 0;
  for (const Segment& s : EMU_TRY(program_headers(request, file, 1 /* PT_LOAD */))) {
    if (s.memory_bytes == 0) continue;
    if (s.address > request.low_ram_end || s.memory_bytes > request.low_ram_end - s.address) {
      return error(Error(fmt::format("kernel '{}' wants memory at {:#x}..{:#x}, and the guest's ends at {:#x}",
                                     request.kernel, s.address, s.address + s.memory_bytes, request.low_ram_end))
                       .with_hint("Give the guest more memory with -m."));
    }
    BootBlob blob{"kernel", s.address, std::vector<u8>(s.memory_bytes)};
    std::memcpy(blob.bytes.data(), file.data() + s.offset, s.file_bytes);
    end = std::max(end, s.address + s.memory_bytes);
    image.blobs.push_back(std::move(blob));
  }
  if (image.blobs.empty()) return broken(request, "it has nothing to load");
  return end;
}

void add_flat_gdt(BootImage& image) {
  std::vector<u8> gdt(32);
  put<u64>(gdt, 0x10, 0x00cf'9b00'0000'ffff);
  put<u64>(gdt, 0x18, 0x00cf'9300'0000'ffff);
  image.blobs.push_back({"boot GDT", kGdt, std::move(gdt)});
  image.entry.gdt_address = u32(kGdt);
  image.entry.gdt_limit = 31;
}

Result<u32> add_command_line(const BootRequest& request, const std::string& text, BootImage& image) {
  if (text.size() >= kMaxCommandLine)
    return error("-append has {} characters; at most {} fit", request.append.size(), kMaxCommandLine - 1);
  std::vector<u8> bytes(text.begin(), text.end());
  bytes.push_back(0);
  image.blobs.push_back({"command line", kCommandLine, std::move(bytes)});
  return u32(kCommandLine);
}

/// The entry point in the note Xen/18 (XEN_ELFNOTE_PHYS32_ENTRY); 0 if there is none.
Result<u32> pvh_entry(const BootRequest& request, const std::vector<u8>& file) {
  for (const Segment& notes : EMU_TRY(program_headers(request, file, 4 /* PT_NOTE */))) {
    u64 at = notes.offset;
    const u64 end = notes.offset + notes.file_bytes;
    while (at + 12 <= end) {
      const u64 name_bytes = get<u32>(file, at), desc_bytes = get<u32>(file, at + 4);
      const u32 type = get<u32>(file, at + 8);
      const u64 name = at + 12, desc = name + align_up(name_bytes, 4);
      if (desc > end || desc_bytes > end - desc) break;
      if (type == 18 && name_bytes == 4 && std::memcmp(file.data() + name, "Xen", 4) == 0) {
        return desc_bytes >= 8 ? u32(get<u64>(file, desc)) : get<u32>(file, desc);
      }
      at = desc + align_up(desc_bytes, 4);
    }
  }
  return 0u;
}

}  // namespace

Result<BootImage> load_pvh(const BootRequest& request, const std::vector<u8>& kernel, std::vector<u8> initrd) {
  const u32 entry = EMU_TRY(pvh_entry(request, kernel));
  if (entry == 0) {
    return error(
        Error(fmt::format("kernel '{}' is an ELF file without the PVH note, so it has no entry point that we could use",
                          request.kernel))
            .with_hint("Build it with CONFIG_PVH=y, or give the bzImage."));
  }
  BootImage image;
  const u64 end = EMU_TRY(load_segments(request, kernel, image));
  add_flat_gdt(image);
  const u32 command_line = EMU_TRY(add_command_line(request, request.append, image));

  // struct hvm_start_info, one module entry, the memory map.
  const size_t modules = 56, map = modules + 32;
  std::vector<u8> info(map + request.memory_map.size() * 24);
  put<u32>(info, 0, 0x336e'c578);  // magic
  put<u32>(info, 4, 1);            // version
  put<u64>(info, 24, command_line);
  put<u64>(info, 32, request.acpi_rsdp);
  put<u64>(info, 40, kInfo + map);
  put<u32>(info, 48, u32(request.memory_map.size()));
  if (!initrd.empty()) {
    const u64 address = EMU_TRY(place_initrd(request, initrd.size(), u64(1) << 32, end));
    put<u32>(info, 12, 1);
    put<u64>(info, 16, kInfo + modules);
    put<u64>(info, modules, address);
    put<u64>(info, modules + 8, initrd.size());
    image.blobs.push_back({"initrd", address, std::move(initrd)});
  }
  for (size_t i = 0; i < request.memory_map.size(); i++) {
    put<u64>(info, map + i * 24, request.memory_map[i].address);
    put<u64>(info, map + i * 24 + 8, request.memory_map[i].length);
    put<u32>(info, map + i * 24 + 16, u32(request.memory_map[i].type));
  }
  image.blobs.push_back({"start info", kInfo, std::move(info)});
  image.entry.eip = entry;
  image.entry.ebx = u32(kInfo);
  return image;
}

Result<BootImage> load_multiboot(const BootRequest& request, const std::vector<u8>& kernel, std::vector<u8> initrd,
                                 size_t header) {
  BootImage image;
  const u32 flags = get<u32>(kernel, header + 4);
  if (flags & 0xfff8)
    return error("kernel '{}' asks for multiboot features {:#x}, which are not known", request.kernel, flags & 0xfff8);
  if (flags & 4) return error("kernel '{}' asks multiboot for a video mode, which we do not set", request.kernel);
  u64 end;
  if (flags & 0x10000) {  // the a.out kludge: addresses in the header
    const u32 header_address = get<u32>(kernel, header + 12), load = get<u32>(kernel, header + 16);
    const u32 load_end = get<u32>(kernel, header + 20), bss_end = get<u32>(kernel, header + 24);
    if (load > header_address || header_address - load > header)
      return broken(request, "its multiboot load address is wrong");
    const size_t offset = header - (header_address - load);
    const u64 bytes = load_end ? u64(load_end) - load : kernel.size() - offset;
    if ((load_end && load_end < load) || bytes > kernel.size() - offset)
      return broken(request, "its multiboot load range lies behind its end");
    end = std::max<u64>(load + bytes, bss_end);
    if (end > request.low_ram_end) return error("kernel '{}' does not fit into guest memory", request.kernel);
    BootBlob blob{"kernel", load, std::vector<u8>(end - load)};
    std::memcpy(blob.bytes.data(), kernel.data() + offset, bytes);
    image.blobs.push_back(std::move(blob));
    image.entry.eip = get<u32>(kernel, header + 28);
  } else {
    if (get<u32>(kernel, 0) != kElf)
      return broken(request, "its multiboot header gives no addresses, and it is no ELF file");
    if (is_elf64(kernel))
      return error("kernel '{}' is a 64-bit multiboot 1 ELF file; multiboot enters 32-bit code", request.kernel);
    end = EMU_TRY(load_segments(request, kernel, image));
    image.entry.eip = get<u32>(kernel, 24);
  }
  add_flat_gdt(image);
  const u32 command_line =
      EMU_TRY(add_command_line(request, request.kernel + (request.append.empty() ? "" : " " + request.append), image));

  // Multiboot information, section 3.3; then one module entry and the memory map.
  const size_t module = 96, map = module + 16;
  std::vector<u8> info(map + request.memory_map.size() * 24);
  u32 present = 0x1 | 0x4 | 0x40 | 0x200;  // mem_*, cmdline, mmap, loader name
  u64 upper = 0;
  for (const E820Entry& e : request.memory_map) {
    if (e.type == E820Type::Ram && e.address == 0x100000) upper = e.length;
  }
  put<u32>(info, 4, 639);
  put<u32>(info, 8, u32(upper >> 10));
  put<u32>(info, 16, command_line);
  if (!initrd.empty()) {
    // The initrd is one module, behind the kernel.
    const u64 address = align_up(end, 4096);
    if (address + initrd.size() > request.low_ram_end)
      return error("initrd '{}' does not fit into guest memory behind the kernel", request.initrd);
    present |= 0x8;
    put<u32>(info, 20, 1);
    put<u32>(info, 24, u32(kInfo + module));
    put<u32>(info, module, u32(address));
    put<u32>(info, module + 4, u32(address + initrd.size()));
    put<u32>(info, module + 8, command_line);
    image.blobs.push_back({"initrd", address, std::move(initrd)});
  }
  put<u32>(info, 44, u32(request.memory_map.size() * 24));
  put<u32>(info, 48, u32(kInfo + map));
  put<u32>(info, 64, command_line);
  put<u32>(info, 0, present);
  for (size_t i = 0; i < request.memory_map.size(); i++) {
    const size_t at = map + i * 24;
    put<u32>(info, at, 20);
    put<u64>(info, at + 4, request.memory_map[i].address);
    put<u64>(info, at + 12, request.memory_map[i].length);
    put<u32>(info, at + 20, u32(request.memory_map[i].type));
  }
  image.blobs.push_back({"multiboot information", kInfo, std::move(info)});
  image.entry.eax = 0x2bad'b002;
  image.entry.ebx = u32(kInfo);
  return image;
}

}  // namespace emu::hw::detail
