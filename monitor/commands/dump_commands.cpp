// SPDX-License-Identifier: Apache-2.0
// Guest memory into files: memsave, pmemsave, dump-guest-memory.
#include "monitor/commands.h"
#include "monitor/commands/socket_address.h"
#include "monitor/cpu_view.h"
#include "monitor/dump/dump_job.h"
#include "monitor/monitors.h"
#include "monitor/output_file.h"

namespace emu::monitor {
namespace {

Result<void> save(CommandContext& context, u64 cpu_index, AddressKind kind, u64 address, i64 size,
                  const std::string& filename) {
  if (size < 0) return error("Parameter 'size' expects a non-negative value");
  const auto cpus = context.control.board().cpus();
  // Physical memory is there without a CPU, too.
  hw::BoardCpu place;
  if (cpu_index < cpus.size()) {
    place = cpus[cpu_index];
  } else {
    place.memory = &context.control.machine().system_memory();
  }
  if (kind == AddressKind::Physical) place.memory = &context.control.machine().system_memory();
  const Fd out = EMU_TRY(open_for_writing(context, filename));
  Result<void> result;
  context.control.with_cpus_stopped([&] {
    const CpuView view(place);
    std::vector<u8> chunk(mem::kPageSize);
    for (u64 left = u64(size), at = address; left > 0;) {
      // Whole pages of the address, so that a page that is not there is found before its bytes.
      const u64 n = std::min<u64>(left, mem::kPageSize - (at & (mem::kPageSize - 1)));
      const std::span<u8> part(chunk.data(), std::size_t(n));
      if (!view.read(at, kind, part)) {
        if (kind == AddressKind::Virtual) {
          result = error("Invalid addr {:#018x}/size {} specified", address, size);
          return;
        }
        std::fill(part.begin(), part.end(), u8(0xff));  // as a bus without anybody
      }
      result = write_all(out, part, filename);
      if (!result) return;
      left -= n;
      at += n;
    }
  });
  return result;
}

struct MemsaveArguments {
  static constexpr const char* kName = "MemsaveArguments";
  u64 val = 0;
  i64 size = 0;
  std::string filename;
  std::optional<i64> cpu_index;
  void members(auto& m) {
    m("val", val);
    m("size", size);
    m("filename", filename);
    m("cpu-index", cpu_index);
  }
};
Result<void> memsave(CommandContext& context, const MemsaveArguments& arguments) {
  const i64 index = arguments.cpu_index.value_or(0);
  if (index < 0 || u64(index) >= context.control.board().cpus().size()) {
    return error("Parameter 'cpu-index' expects a CPU number");
  }
  return save(context, u64(index), AddressKind::Virtual, arguments.val, arguments.size, arguments.filename);
}

struct PmemsaveArguments {
  static constexpr const char* kName = "PmemsaveArguments";
  u64 val = 0;
  i64 size = 0;
  std::string filename;
  void members(auto& m) {
    m("val", val);
    m("size", size);
    m("filename", filename);
  }
};
Result<void> pmemsave(CommandContext& context, const PmemsaveArguments& arguments) {
  return save(context, 0, AddressKind::Physical, arguments.val, arguments.size, arguments.filename);
}

// ---- dump-guest-memory

enum class DumpFormat : u8 { Elf };
constexpr EnumNames enum_names(DumpFormat) { return {"DumpGuestMemoryFormat", {"elf"}}; }

struct DumpArguments {
  static constexpr const char* kName = "DumpGuestMemoryArguments";
  bool paging = false;
  std::string protocol;
  std::optional<bool> detach;
  std::optional<u64> begin, length;
  std::optional<DumpFormat> format;
  void members(auto& m) {
    m("paging", paging);
    m("protocol", protocol);
    m("detach", detach);
    m("begin", begin);
    m("length", length);
    m("format", format);
  }
};

Result<void> dump_guest_memory(CommandContext& context, const DumpArguments& arguments) {
  if (arguments.paging)
    return error("paging=true is not supported: readers of the dump translate addresses themselves");
  if (context.control.board().cpus().empty()) return error("this machine has no CPU whose memory to dump");
  if (arguments.begin && !arguments.length) return error("Parameter 'length' is missing");
  if (arguments.length && !arguments.begin) return error("Parameter 'begin' is missing");
  constexpr std::string_view kFd = "fd:", kFile = "file:";
  Fd out;
  if (arguments.protocol.starts_with(kFd)) {
    out = EMU_TRY(take_named_fd(context.session, arguments.protocol.substr(kFd.size())));
  } else if (arguments.protocol.starts_with(kFile)) {
    out = EMU_TRY(open_for_writing(context, arguments.protocol.substr(kFile.size())));
  } else {
    return error("Invalid parameter 'protocol'");
  }
  std::optional<DumpJob::Range> range;
  if (arguments.begin) range = {*arguments.begin, *arguments.length};
  return context.monitors.dump().start(std::move(out), range, arguments.detach.value_or(false));
}

Result<DumpQueryResult> query_dump(CommandContext& context) { return context.monitors.dump().query(); }

struct DumpCapability {
  static constexpr const char* kName = "DumpGuestMemoryCapability";
  std::vector<DumpFormat> formats;
  void members(auto& m) { m("formats", formats); }
};
Result<DumpCapability> query_dump_capability(CommandContext&) { return DumpCapability{{DumpFormat::Elf}}; }

Result<Reply> hmp_memsave(CommandContext& context, const Arguments& arguments) {
  EMU_TRY(memsave(context, {*arguments.number("addr"), i64(*arguments.number("size")), arguments.text("file"),
                            i64(context.session.cpu)}));
  return Reply{};
}
Result<Reply> hmp_pmemsave(CommandContext& context, const Arguments& arguments) {
  EMU_TRY(pmemsave(context, {*arguments.number("addr"), i64(*arguments.number("size")), arguments.text("file")}));
  return Reply{};
}
Result<Reply> hmp_dump(CommandContext& context, const Arguments& arguments) {
  EMU_TRY(dump_guest_memory(context, {arguments.flag("p"), "file:" + arguments.text("file"), arguments.flag("d"),
                                      {}, {}, {}}));
  return Reply{};
}
Result<Reply> info_dump(CommandContext& context, const Arguments&) {
  const DumpQueryResult result = context.monitors.dump().query();
  const double percent = result.total == 0 ? 0 : 100.0 * double(result.completed) / double(result.total);
  return Reply{
      fmt::format("Status: {}\nFinished: {:.2f} %\n", to_json_value(result.status).get<std::string>(), percent)};
}

}  // namespace

void register_dump_commands(CommandRegistry& registry) {
  registry.add(qmp("memsave", memsave));
  registry.add(qmp("pmemsave", pmemsave));
  registry.add(qmp("dump-guest-memory", dump_guest_memory));
  registry.add(qmp("query-dump", query_dump));
  registry.add(qmp("query-dump-guest-memory-capability", query_dump_capability));

  const std::vector<ArgSpec> save_arguments = {{"addr", ArgKind::Expression}, {"size", ArgKind::Expression}, {"file"}};
  registry.add(
      {.name = "memsave",
       .arguments = save_arguments,
       .syntax = "addr size file",
       .help = "save to disk virtual memory dump starting at 'addr' of size 'size' (quote a file that begins with '/')",
       .run = hmp_memsave});
  registry.add(
      {.name = "pmemsave",
       .arguments = save_arguments,
       .syntax = "addr size file",
       .help =
           "save to disk physical memory dump starting at 'addr' of size 'size' (quote a file that begins with '/')",
       .run = hmp_pmemsave});
  registry.add({.name = "dump-guest-memory",
                .arguments = {{"p", ArgKind::Flag, Need::Optional}, {"d", ArgKind::Flag, Need::Optional}, {"file"}},
                .syntax = "[-d] file",
                .help = "dump guest memory into file 'file' as an ELF core (-d: in the background)",
                .run = hmp_dump});
  registry.add({.name = "info dump", .help = "display the latest dump status", .run = info_dump});
}

}  // namespace emu::monitor
