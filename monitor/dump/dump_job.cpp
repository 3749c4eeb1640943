// SPDX-License-Identifier: Apache-2.0
#include "monitor/dump/dump_job.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>

#include "monitor/monitors.h"
#include "util/thread.h"

namespace emu::monitor {
namespace {

constexpr std::size_t kChunk = 1 << 20;

std::optional<std::string> write_bytes(const Fd& out, std::span<const u8> data) {
  while (!data.empty()) {
    const ssize_t n = ::write(out.get(), data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return fmt::format("dump: failed to save memory: {}", std::strerror(n < 0 ? errno : ENOSPC));
    data = data.subspan(std::size_t(n));
  }
  return std::nullopt;
}

}  // namespace

DumpJob::~DumpJob() {
  cancelled_ = true;
  if (writer_.joinable()) writer_.join();
}

DumpQueryResult DumpJob::query() const { return {status_.load(), completed_.load(), total_}; }

Result<void> DumpJob::start(Fd out, std::optional<Range> range, bool detach) {
  if (status_ == DumpStatus::Active) return error("There is a dump in process, please wait.");
  if (writer_.joinable()) writer_.join();
  MachineControl& control = monitors_.control();
  const auto cpus = control.board().cpus();
  std::vector<RamRange> ranges = ram_ranges(control.machine().system_memory());
  if (range) {
    ranges = clip_ranges(ranges, range->begin, range->length);
    if (ranges.empty()) return error("Invalid parameter 'begin'");
  }
  was_running_ = control.is_running();
  if (was_running_) control.stop();
  ranges_ = std::move(ranges);
  std::vector<std::string> registers;
  control.with_cpus_stopped([&] {
    for (const hw::BoardCpu& cpu : cpus) registers.push_back(cpu.cpu->dump_registers());
  });
  head_ = make_elf_core_head(ranges_, registers);
  total_ = 0;
  for (const RamRange& one : ranges_) total_ += one.size;
  completed_ = 0;
  status_ = DumpStatus::Active;
  if (!detach) {
    auto failure = write_all(out);
    finished(failure, /*tell=*/true);
    if (failure) return error("{}", *failure);
    return {};
  }
  UniqueFunction<void()> body = [this, out = std::make_shared<Fd>(std::move(out))] {
    auto failure = write_all(*out);
    monitors_.loop().post([this, failure, alive = std::weak_ptr<const int>(alive_)] {
      if (alive.lock()) finished(failure, /*tell=*/true);
    });
  };
  writer_ = try_start_thread("dump", body);
  if (writer_.joinable()) return {};
  finished("the host has no thread left", /*tell=*/false);
  return error("dump: the host has no thread left");
}

std::optional<std::string> DumpJob::write_all(const Fd& out) {
  if (auto failure = write_bytes(out, head_)) return failure;
  mem::AddressSpace& space = monitors_.control().machine().system_memory();
  const mem::MemTxAttrs attrs{.requester = mem::MemTxAttrs::Requester::Host, .debug = true};
  std::vector<u8> chunk(kChunk);
  for (const RamRange& range : ranges_) {
    for (u64 done = 0; done < range.size;) {
      if (cancelled_) return "dump: cancelled";
      const std::span<u8> part(chunk.data(), std::size_t(std::min<u64>(kChunk, range.size - done)));
      if (space.read(range.address + done, part, attrs) != mem::MemTxResult::Ok) {
        return fmt::format("dump: cannot read guest memory at {:#x}", range.address + done);
      }
      if (auto failure = write_bytes(out, part)) return failure;
      done += part.size();
      completed_ += part.size();
    }
  }
  return std::nullopt;
}

void DumpJob::finished(std::optional<std::string> failure, bool tell) {
  status_ = failure ? DumpStatus::Failed : DumpStatus::Completed;
  if (tell) monitors_.emit("DUMP_COMPLETED", DumpCompletedEvent{query(), failure});
  if (was_running_) (void)monitors_.control().cont();
}

}  // namespace emu::monitor
