// SPDX-License-Identifier: Apache-2.0
// Options, opening and alignment of files and devices.
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "block/file/file_node.h"
#include "block/graph.h"
#include "util/log.h"
#include "util/string.h"

namespace emu::block {

struct FileNode::Setup {
  std::string filename;
  AioMode aio = AioMode::Auto;
  bool locking = true;
  Fd fd;
  u64 bytes = 0;
  BlockLimits limits;
  std::shared_ptr<IoEngine> engine;
};

namespace {

enum class Locking : u8 { Auto, On, Off };

Result<u64> length_of(int fd, const std::string& filename, bool is_block_device) {
  if (is_block_device) {
    u64 bytes = 0;
    if (::ioctl(fd, BLKGETSIZE64, &bytes) != 0) {
      return error("cannot tell the size of '{}': {}", filename, std::strerror(errno));
    }
    return bytes;
  }
  struct stat file {};
  if (::fstat(fd, &file) != 0) return error("cannot tell the size of '{}': {}", filename, std::strerror(errno));
  return u64(file.st_size);
}

/// What direct I/O needs here; the kernel says so for most files (6.1), 512 for devices, else 4096 is always safe.
BlockLimits direct_limits(int fd, bool is_block_device) {
  BlockLimits limits;
  limits.request_alignment = 4096;
  limits.memory_alignment = 4096;
#ifdef STATX_DIOALIGN
  struct statx file {};
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &file) == 0 && (file.stx_mask & STATX_DIOALIGN) != 0 &&
      file.stx_dio_offset_align != 0) {
    limits.request_alignment = file.stx_dio_offset_align;
    limits.memory_alignment = file.stx_dio_mem_align;
    return limits;
  }
#endif
  int sector = 0;
  if (is_block_device && ::ioctl(fd, BLKSSZGET, &sector) == 0 && sector >= 512 && sector <= 4096) {
    limits.request_alignment = u32(sector);
    limits.memory_alignment = u32(sector);
  }
  return limits;
}

}  // namespace

FileNode::FileNode(EventLoop& loop, const NodeSettings& settings, Kind kind, IoEngines& engines, Setup setup)
    : Node(loop, settings.name, settings.read_only),
      kind_(kind),
      filename_(setup.filename),
      direct_(settings.direct),
      no_flush_(settings.no_flush),
      unmap_(settings.unmap),
      takes_locks_(setup.locking),
      aio_(setup.aio),
      engines_(engines),
      engine_(std::move(setup.engine)),
      fd_(std::move(setup.fd)),
      in_place_(kind == Kind::File && !direct_ ? InPlace::kind_of(fd_.get()) : InPlace::Kind::None),
      locks_(setup.filename),
      limits_(setup.limits),
      bytes_(setup.bytes) {}

Result<Fd> FileNode::open_descriptor(const std::string& filename, bool read_only, bool direct) {
  const int flags = (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | (direct ? O_DIRECT : 0);
  Fd fd(::open(filename.c_str(), flags));
  if (fd) return fd;
  const int failed = errno;
  if (direct && failed == EINVAL) {
    return error(Error(fmt::format("Could not open '{}': file system does not support O_DIRECT", filename))
                     .with_hint("leave cache.direct=on (cache=none, cache=directsync) away"));
  }
  return error("Could not open '{}': {}", filename, std::strerror(failed));
}

Result<FileNode::Setup> FileNode::prepare(Kind kind, OpenContext& context, Options options) {
  NodeSettings& settings = context.settings;
  Setup setup;
  setup.filename = EMU_TRY(options.take_required("filename"));
  if (setup.filename.empty()) return error("The 'file' block driver requires a file name");
  if (setup.filename.starts_with("file:")) setup.filename.erase(0, 5);
  bool is_native = false;
  if (const auto aio = EMU_TRY(options.take_enum("aio", {"threads", "native", "io_uring"}))) {
    setup.aio = *aio == 0 ? AioMode::Threads : *aio == 1 ? AioMode::Auto : AioMode::IoUring;
    is_native = *aio == 1;
  }
  const auto locking = Locking(EMU_TRY(options.take_enum("locking", {"auto", "on", "off"})).value_or(0));
  EMU_TRY(options.finish());
  if (is_native) {
    if (!settings.direct) {
      return error(Error("aio=native was specified, but it requires cache.direct=on, which was not specified")
                       .with_hint("add cache.direct=on (cache=none), or say aio=io_uring"));
    }
    log::warn("aio=native: '{}' is served by io_uring", setup.filename);
  }

  auto fd = open_descriptor(setup.filename, settings.read_only, settings.direct);
  if (!fd && !settings.read_only && settings.auto_read_only) {
    if (auto readable = open_descriptor(setup.filename, true, settings.direct)) {
      settings.read_only = true;
      fd = std::move(readable);
    }
  }
  setup.fd = EMU_TRY(std::move(fd));

  struct stat file {};
  if (::fstat(setup.fd.get(), &file) != 0) {
    return error("Could not open '{}': {}", setup.filename, std::strerror(errno));
  }
  const bool is_device = S_ISBLK(file.st_mode) || S_ISCHR(file.st_mode);
  if (kind == Kind::File && !S_ISREG(file.st_mode) && !S_ISBLK(file.st_mode)) {
    return error("'file' driver requires '{}' to be a regular file", setup.filename);
  }
  if (kind == Kind::HostDevice && !is_device) {
    return error("'host_device' driver requires '{}' to be either a character or block device", setup.filename);
  }
  setup.bytes = EMU_TRY(length_of(setup.fd.get(), setup.filename, S_ISBLK(file.st_mode)));
  if (settings.direct) setup.limits = direct_limits(setup.fd.get(), S_ISBLK(file.st_mode));
  setup.limits.max_transfer = 1u << 30;

  setup.locking = locking != Locking::Off && !settings.force_share;
  if (setup.locking && !FileLocks::is_supported(setup.fd.get())) {
    if (locking == Locking::On) {
      return error("locking=on: the host has no open file description locks for '{}'", setup.filename);
    }
    setup.locking = false;
  }
  setup.engine = EMU_TRY(context.graph.engines().engine(context.loop, setup.aio));
  return setup;
}

Task<Result<NodeRef>> FileNode::open(Kind kind, OpenContext& context, Options options) {
  // `file` over a block device is what `host_device` is; QEMU lets users say either.
  auto setup = prepare(kind, context, std::move(options));
  EMU_CO_TRY(setup);
  struct stat file {};
  if (::fstat(setup->fd.get(), &file) == 0 && S_ISBLK(file.st_mode)) kind = Kind::HostDevice;
  co_return NodeRef(
      new FileNode(context.loop, context.settings, kind, context.graph.engines(), std::move(*setup)));
}

void register_file_drivers(DriverRegistry& drivers) {
  drivers.add({.name = "file", .is_protocol = true, .open = [](OpenContext& context, Options options) {
                 return FileNode::open(FileNode::Kind::File, context, std::move(options));
               }});
  drivers.add({.name = "host_device", .is_protocol = true, .open = [](OpenContext& context, Options options) {
                 return FileNode::open(FileNode::Kind::HostDevice, context, std::move(options));
               }});
}

}  // namespace emu::block
