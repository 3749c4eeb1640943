// SPDX-License-Identifier: Apache-2.0
// Formats: Linux, tools/perf/Documentation/jit-interface.txt and jitdump-specification.txt.
#include "accel/tcg/perf_files.h"

#include <elf.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace emu::accel {
namespace {

struct DumpHeader {
  u32 magic = 0x4a69'5444;  // "JiTD", in the byte order of the host
  u32 version = 1;
  u32 bytes = sizeof(DumpHeader);
  u32 machine = 0;  ///< ELF's number
  u32 pad = 0;
  u32 process = 0;
  u64 time_ns = 0;
  u64 flags = 0;
};

struct CodeLoad {
  u32 id = 0;
  u32 bytes = 0;  ///< with name and code
  u64 time_ns = 0;
  u32 process = 0, thread = 0;
  u64 address = 0, code_address = 0, code_bytes = 0, index = 0;
};

#if defined(__x86_64__)
constexpr u32 kMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr u32 kMachine = EM_AARCH64;
#endif

u64 now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return u64(now.tv_sec) * 1'000'000'000 + u64(now.tv_nsec);
}

template <typename File>
Result<void> open(File& file, const std::string& path, const char* mode) {
  file.reset(std::fopen(path.c_str(), mode));
  if (!file) return error("'{}' cannot be written: {}", path, std::strerror(errno));
  return {};
}

}  // namespace

std::string PerfFiles::map_path() { return fmt::format("/tmp/perf-{}.map", ::getpid()); }
std::string PerfFiles::dump_path() { return fmt::format("jit-{}.dump", ::getpid()); }

PerfFiles::~PerfFiles() {
  if (marker_ != nullptr) ::munmap(marker_, marker_bytes_);
}

Result<void> PerfFiles::open_map_at(const std::string& path) { return open(map_, path, "we"); }

Result<void> PerfFiles::open_dump_at(const std::string& path) {
  EMU_TRY(open(dump_, path, "w+e"));
  DumpHeader header;
  header.machine = kMachine;
  header.process = u32(::getpid());
  header.time_ns = now_ns();
  std::fwrite(&header, sizeof header, 1, dump_.get());
  std::fflush(dump_.get());
  marker_bytes_ = std::size_t(::sysconf(_SC_PAGESIZE));
  void* mapped = ::mmap(nullptr, marker_bytes_, PROT_READ | PROT_EXEC, MAP_PRIVATE, ::fileno(dump_.get()), 0);
  if (mapped == MAP_FAILED) return error("'{}' cannot be mapped for perf: {}", path, std::strerror(errno));
  marker_ = mapped;
  return {};
}

void PerfFiles::add(u64 guest_pc, u32 mode, std::span<const u8> code) {
  const std::string name = fmt::format("guest_{:#x}_mode_{:#x}", guest_pc, mode);
  const std::lock_guard lock(mutex_);
  if (map_) {
    const std::string line = fmt::format("{:x} {:x} {}\n", reinterpret_cast<u64>(code.data()), code.size(), name);
    std::fwrite(line.data(), 1, line.size(), map_.get());
    std::fflush(map_.get());
  }
  if (dump_) dump_locked(name, code);
}

void PerfFiles::dump_locked(const std::string& name, std::span<const u8> code) {
  CodeLoad record;
  record.bytes = u32(sizeof record + name.size() + 1 + code.size());
  record.time_ns = now_ns();
  record.process = u32(::getpid());
  record.thread = u32(::gettid());
  record.address = record.code_address = reinterpret_cast<u64>(code.data());
  record.code_bytes = code.size();
  record.index = next_index_++;
  std::fwrite(&record, sizeof record, 1, dump_.get());
  std::fwrite(name.c_str(), 1, name.size() + 1, dump_.get());
  std::fwrite(code.data(), 1, code.size(), dump_.get());
  std::fflush(dump_.get());
}

}  // namespace emu::accel
