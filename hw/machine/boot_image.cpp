// SPDX-License-Identifier: Apache-2.0
#include "hw/machine/boot_image.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>

#include "util/fd.h"

namespace emu::hw {
namespace {

using detail::get;

constexpr u32 kMultibootMagic = 0x1bad'b002;

/// The multiboot 1 header lies 4-byte aligned in the first 8 KiB; magic + flags + checksum = 0.
std::optional<size_t> find_multiboot(const std::vector<u8>& file) {
  for (size_t at = 0; at + 12 <= file.size() && at < 8192; at += 4) {
    if (get<u32>(file, at) == kMultibootMagic &&
        get<u32>(file, at) + get<u32>(file, at + 4) + get<u32>(file, at + 8) == 0)
      return at;
  }
  return std::nullopt;
}

/// A name for what a file that we cannot boot seems to be.
std::string foreign_kind(const std::vector<u8>& file) {
  if (get<u32>(file, 0x38) == 0x644d'5241) return "an arm64 kernel image";
  if (get<u32>(file, 0x38) == 0x0543'5352) return "a RISC-V kernel image";
  if (get<u32>(file, 0x24) == 0x016f'2818) return "a 32-bit arm kernel image";
  if (get<u16>(file, 0) == 0x8b1f) return "a gzip file";
  if (get<u32>(file, 0) == 0x464c'457f) return "an ELF file for another processor";
  if (file.size() >= 6 && std::memcmp(file.data(), "070701", 6) == 0) return "a cpio archive (an initrd?)";
  return "no kernel format that is known";
}

}  // namespace

Result<std::vector<u8>> read_file(const std::string& path, const std::string& what) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.is_valid()) return error("{} '{}' cannot be opened: {}", what, path, std::strerror(errno));
  struct stat info;
  if (fstat(fd.get(), &info) != 0) return error("{} '{}' cannot be read: {}", what, path, std::strerror(errno));
  if (S_ISDIR(info.st_mode)) return error("{} '{}' is a folder, not a file", what, path);
  std::vector<u8> bytes;
  bytes.resize(size_t(std::max<off_t>(info.st_size, 0)));
  size_t done = 0;
  while (true) {
    if (done == bytes.size()) bytes.resize(bytes.size() + 65536);
    const ssize_t n = ::read(fd.get(), bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return error("{} '{}' cannot be read: {}", what, path, std::strerror(errno));
    if (n == 0) break;
    done += size_t(n);
  }
  bytes.resize(done);
  return bytes;
}

Result<u64> detail::place_initrd(const BootRequest& request, u64 size, u64 limit, u64 floor) {
  const u64 top = std::min(limit, request.low_ram_end);
  if (size > top || align_down(top - size, 4096) < floor) {
    return error(
        Error(fmt::format("initrd '{}' does not fit: it has {} MiB, and {} MiB of guest memory are free for it",
                          request.initrd, (size + 0xfffff) >> 20, top > floor ? (top - floor) >> 20 : 0))
            .with_hint("Give the guest more memory with -m."));
  }
  return align_down(top - size, 4096);
}

namespace {

struct Files {
  std::vector<u8> kernel, initrd;
};

Result<Files> read_files(const BootRequest& request) {
  Files files{EMU_TRY(read_file(request.kernel, "kernel")), {}};
  if (!request.initrd.empty()) {
    files.initrd = EMU_TRY(read_file(request.initrd, "initrd"));
    if (files.initrd.empty()) return error("initrd '{}' is empty", request.initrd);
  }
  if (files.kernel.empty()) return error("kernel '{}' is empty", request.kernel);
  return files;
}

Error not_bootable(const BootRequest& request, const std::vector<u8>& kernel) {
  return Error(fmt::format("kernel '{}' cannot be booted: it is {}", request.kernel, foreign_kind(kernel)))
      .with_hint("An x86 bzImage, an ELF file with the PVH note or a multiboot 1 kernel is expected.");
}

bool is_x86_elf(const std::vector<u8>& file) {
  const u16 machine = get<u16>(file, 18);
  return get<u32>(file, 0) == 0x464c'457f && (machine == 3 || machine == 62);
}

}  // namespace

Result<BootImage> load_boot_image(const BootRequest& request) {
  auto [kernel, initrd] = EMU_TRY(read_files(request));
  if (detail::is_bzimage(kernel)) return detail::load_bzimage(request, kernel, std::move(initrd));
  if (const auto header = find_multiboot(kernel))
    return detail::load_multiboot(request, kernel, std::move(initrd), *header);
  if (is_x86_elf(kernel)) return detail::load_pvh(request, kernel, std::move(initrd));
  return error(not_bootable(request, kernel));
}

Result<FirmwareKernel> load_firmware_kernel(const BootRequest& request) {
  auto [kernel, initrd] = EMU_TRY(read_files(request));
  if (detail::is_bzimage(kernel)) return detail::split_bzimage(request, std::move(kernel), std::move(initrd));
  if (find_multiboot(kernel) || is_x86_elf(kernel)) {
    return error(
        Error(fmt::format("kernel '{}' is no bzImage, and firmware can only start one of those", request.kernel))
            .with_hint("Leave out firmware=on and -bios: the kernel is then entered directly."));
  }
  return error(not_bootable(request, kernel));
}

}  // namespace emu::hw
