// SPDX-License-Identifier: Apache-2.0
// x, xp and print: guest memory and numbers for people.
#include <algorithm>
#include <cctype>

#include "monitor/commands.h"
#include "monitor/cpu_view.h"
#include "monitor/monitors.h"
#include "util/string.h"

namespace emu::monitor {
namespace {

constexpr u64 kMostItems = u64(1) << 20;
/// A person reads less, and a terminal's queue holds no more; one that asks for a million strings asks for gigabytes.
constexpr std::size_t kMostText = std::size_t(8) << 20;
constexpr const char* kCutOff = "(the rest is not shown)\n";
constexpr std::size_t kLongestInstruction = 16;
constexpr std::size_t kLongestString = 4096;

unsigned unit_bytes(char unit) { return unit == 'b' ? 1 : unit == 'h' ? 2 : unit == 'g' ? 8 : 4; }

std::string quoted(u64 value) {
  const u8 c = u8(value);
  if (c == '\'' || c == '\\') return fmt::format("'\\{}'", char(c));
  if (c == '\n') return "'\\n'";
  if (c == '\r') return "'\\r'";
  if (c >= 0x20 && c < 0x7f) return fmt::format("'{}'", char(c));
  return fmt::format("'\\x{:02x}'", c);
}

/// One item as QEMU's monitor lays it out: columns as wide as the widest number of that size.
std::string item(u64 value, char format, unsigned bytes) {
  const unsigned bits = bytes * 8;
  switch (format) {
    case 'd': {
      const i64 number = i64(value << (64 - bits)) >> (64 - bits);
      constexpr unsigned kWidth[] = {4, 6, 11, 20};
      return fmt::format("{:>{}}", number, kWidth[bytes == 1 ? 0 : bytes == 2 ? 1 : bytes == 4 ? 2 : 3] - 1);
    }
    case 'u': {
      constexpr unsigned kWidth[] = {3, 5, 10, 20};
      return fmt::format("{:>{}}", value, kWidth[bytes == 1 ? 0 : bytes == 2 ? 1 : bytes == 4 ? 2 : 3]);
    }
    case 'o':
      return fmt::format("0{:0{}o}", value, (bits + 2) / 3);
    case 'c':
      return quoted(value);
    default:
      return fmt::format("0x{:0{}x}", value, bytes * 2);
  }
}

std::string dump_items(const CpuView& cpu, u64 address, AddressKind kind, const DisplayFormat& format) {
  const unsigned bytes = format.format == 'c' ? 1 : unit_bytes(format.unit);
  const u64 per_line = bytes == 1 ? 8 : 16 / bytes;
  std::string text;
  for (u64 done = 0; done < format.count;) {
    if (text.size() > kMostText) return text + kCutOff;
    const u64 n = std::min(per_line, format.count - done);
    text += fmt::format("{:016x}:", address);
    for (u64 i = 0; i < n; i++, address += bytes) {
      u8 raw[8] = {};
      if (!cpu.read(address, kind, std::span(raw).first(bytes))) return text + " Cannot access memory\n";
      u64 value = 0;
      for (unsigned b = bytes; b-- > 0;) value = value << 8 | raw[b];
      text += " " + item(value, format.format, bytes);
    }
    text += "\n";
    done += n;
  }
  return text;
}

std::string dump_strings(const CpuView& cpu, u64 address, AddressKind kind, u64 count) {
  std::string text;
  for (u64 n = 0; n < count; n++) {
    if (text.size() > kMostText) return text + kCutOff;
    std::string line;
    for (;;) {
      u8 byte = 0;
      if (!cpu.read(address, kind, std::span(&byte, 1)))
        return text + fmt::format("{:016x}: Cannot access memory\n", address);
      address++;
      if (byte == 0) break;
      const std::string one = quoted(byte);
      line += one.substr(1, one.size() - 2);
      if (line.size() >= kLongestString) break;
    }
    text += fmt::format("\"{}\"\n", line);
  }
  return text;
}

/// "call 0xffffffff81000000" with the name of where it goes behind it. The instruction is at `address`.
std::string with_target_name(std::string line, u64 address, Symbols& symbols) {
  const std::size_t end = line.find_last_not_of(" \n");
  const std::size_t operand = end == std::string::npos ? end : line.find_last_of(' ', end);
  if (operand == std::string::npos) return line;
  const std::size_t before = line.find_last_not_of(' ', operand);
  if (before == std::string::npos) return line;
  const std::size_t mnemonic = line.find_last_of(' ', before) + 1;
  const std::string_view word = std::string_view(line).substr(mnemonic);
  if (!word.starts_with('j') && !word.starts_with("call") && !word.starts_with("loop")) return line;
  const auto target = parse_u64(std::string_view(line).substr(operand + 1, end - operand));
  if (!target) return line;
  std::string name = symbols.describe(*target);
  // 16-bit code goes round within its segment, and the listing shows the offset in there.
  constexpr u64 kSegment = 0xffff;
  if (name.empty() && *target <= kSegment) name = symbols.describe((address & ~kSegment) | *target);
  return name.empty() ? line : line.substr(0, end + 1) + " <" + name + ">\n";
}

std::string dump_instructions(const CpuView& cpu, u64 address, AddressKind kind, u64 count, Symbols& symbols) {
  target::Vcpu& vcpu = cpu.vcpu();
  std::string text;
  for (u64 n = 0; n < count; n++) {
    if (text.size() > kMostText) return text + kCutOff;
    // The next page may not be there while the instruction ends before it.
    std::vector<u8> bytes(kLongestInstruction);
    while (!bytes.empty() && !cpu.read(address, kind, bytes)) bytes.pop_back();
    const std::string listing = vcpu.translator().disassemble(bytes, address, vcpu.mode_key());
    if (listing.empty()) return text + fmt::format("{:#018x}:  Cannot access memory\n", address);
    const std::string line = listing.substr(0, listing.find('\n') + 1);
    // Where the listing begins, and where a symbol does.
    const std::string name = kind == AddressKind::Virtual ? symbols.describe(address) : "";
    if (!name.empty() && (n == 0 || name.find('+') == std::string::npos)) text += name + ":\n";
    text += kind == AddressKind::Virtual ? with_target_name(line, address, symbols) : line;
    // Its length is that of its bytes, the word after the address.
    const std::size_t at = line.find_first_not_of(' ', line.find(':') + 1);
    std::size_t digits = 0;
    while (at + digits < line.size() && std::isxdigit(static_cast<unsigned char>(line[at + digits])) != 0) digits++;
    address += std::max<std::size_t>(digits / 2, 1);
  }
  return text;
}

Result<Reply> examine(CommandContext& context, const Arguments& arguments, AddressKind kind) {
  const std::vector<hw::BoardCpu> cpus = context.control.board().cpus();
  if (context.session.cpu >= cpus.size()) return error("this machine has no CPU to look through");
  const DisplayFormat& format = arguments.format();
  if (format.count > kMostItems) return error("{} items are too many", format.count);
  const u64 address = *arguments.number("addr");
  Reply reply;
  context.control.with_cpus_stopped([&] {
    const CpuView cpu(cpus[context.session.cpu]);
    if (format.format == 'i')
      reply.text = dump_instructions(cpu, address, kind, format.count, context.monitors.symbols());
    else if (format.format == 's')
      reply.text = dump_strings(cpu, address, kind, format.count);
    else
      reply.text = dump_items(cpu, address, kind, format);
  });
  return reply;
}

Result<Reply> print(CommandContext&, const Arguments& arguments) {
  const u64 value = *arguments.number("val");
  switch (arguments.format().format) {
    case 'd':
      return Reply{fmt::format("{}\n", i64(value))};
    case 'u':
      return Reply{fmt::format("{}\n", value)};
    case 'o':
      return Reply{fmt::format("{:#o}\n", value)};
    case 'c':
      return Reply{quoted(value) + "\n"};
    default:
      return Reply{fmt::format("{:#x}\n", value)};
  }
}

}  // namespace

void register_memory_commands(CommandRegistry& registry) {
  registry.add({.name = "x",
                .arguments = {{"fmt", ArgKind::Format, Need::Optional}, {"addr", ArgKind::Expression}},
                .syntax = "/fmt addr",
                .help = "virtual memory dump starting at 'addr'",
                .run = [](CommandContext& c, const Arguments& a) { return examine(c, a, AddressKind::Virtual); }});
  registry.add({.name = "xp",
                .arguments = {{"fmt", ArgKind::Format, Need::Optional}, {"addr", ArgKind::Expression}},
                .syntax = "/fmt addr",
                .help = "physical memory dump starting at 'addr'",
                .run = [](CommandContext& c, const Arguments& a) { return examine(c, a, AddressKind::Physical); }});
  registry.add({.name = "print",
                .aliases = {"p"},
                .arguments = {{"fmt", ArgKind::Format, Need::Optional}, {"val", ArgKind::Expression}},
                .syntax = "/fmt expr",
                .help = "print expression value (use $reg for CPU register access)",
                .run = print});
}

}  // namespace emu::monitor
