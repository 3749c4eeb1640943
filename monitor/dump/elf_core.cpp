// SPDX-License-Identifier: Apache-2.0
#include "monitor/dump/elf_core.h"

#include <elf.h>

#include <algorithm>
#include <cstring>

#include "monitor/cpu_view.h"

namespace emu::monitor {
namespace {

constexpr u32 kPrStatus = 1;  // NT_PRSTATUS
constexpr std::size_t kPrStatusBytes = 336, kPidOffset = 32, kRegistersOffset = 112;

/// Linux' struct user_regs_struct, in order.
constexpr const char* kUserRegisters[] = {"r15", "r14", "r13", "r12", "rbp",      "rbx", "r11",    "r10", "r9",
                                          "r8",  "rax", "rcx", "rdx", "rsi",      "rdi", "orig",   "rip", "cs",
                                          "rfl", "rsp", "ss",  "fsb", "gsb",      "ds",  "es",     "fs",  "gs"};

/// QEMU's note: version, size, registers in the order below, then segments, then control registers.
constexpr const char* kQemuRegisters[] = {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", "r8",
                                          "r9",  "r10", "r11", "r12", "r13", "r14", "r15", "rip", "rfl"};
constexpr const char* kSegments[] = {"CS", "DS", "ES", "FS", "GS", "SS", "LDT", "TR", "GDT", "IDT"};

struct Segment {
  u32 selector = 0, limit = 0, flags = 0, padding = 0;
  u64 base = 0;
};
static_assert(sizeof(Segment) == 24);

template <typename T>
void put(std::vector<u8>& out, const T& value) {
  const auto* bytes = reinterpret_cast<const u8*>(&value);
  out.insert(out.end(), bytes, bytes + sizeof value);
}

/// "CS =0010 0000000000000000 ffffffff 00af9b00 ...", or "GDT=     base limit".
Segment read_segment(std::string_view dump, std::string_view name) {
  Segment segment;
  std::string head = std::string(name);
  head.resize(3, ' ');
  head += '=';
  std::size_t at = std::string_view::npos;
  for (std::size_t from = 0; (at = dump.find(head, from)) != std::string_view::npos; from = at + 1) {
    if (at == 0 || dump[at - 1] == '\n') break;
  }
  if (at == std::string_view::npos) return segment;
  const std::string line(dump.substr(at + head.size(), dump.find('\n', at) - at - head.size()));
  unsigned long long base = 0;
  unsigned selector = 0, limit = 0, flags = 0;
  if (name == "GDT" || name == "IDT") {
    std::sscanf(line.c_str(), " %llx %x", &base, &limit);
  } else {
    std::sscanf(line.c_str(), " %x %llx %x %x", &selector, &base, &limit, &flags);
  }
  return {selector, limit, flags, 0, base};
}

void put_note(std::vector<u8>& out, std::string_view name, u32 type, const std::vector<u8>& data) {
  put(out, Elf64_Nhdr{u32(name.size() + 1), u32(data.size()), type});
  out.insert(out.end(), name.begin(), name.end());
  out.push_back(0);
  while (out.size() % 4 != 0) out.push_back(0);
  out.insert(out.end(), data.begin(), data.end());
  while (out.size() % 4 != 0) out.push_back(0);
}

u64 value_of(std::string_view dump, const std::string& name) {
  if (name == "orig") return ~u64(0);
  if (name == "fsb") return read_segment(dump, "FS").base;
  if (name == "gsb") return read_segment(dump, "GS").base;
  for (const char* segment : {"CS", "SS", "DS", "ES", "FS", "GS"}) {
    std::string lower;
    for (const char* c = segment; *c != 0; c++) lower += char(*c - 'A' + 'a');
    if (name == lower) return read_segment(dump, segment).selector;
  }
  return find_register(dump, name).value_or(0);
}

std::vector<u8> prstatus(std::string_view dump, u32 number) {
  std::vector<u8> data(kPrStatusBytes, 0);
  std::memcpy(data.data() + kPidOffset, &number, sizeof number);
  std::size_t at = kRegistersOffset;
  for (const char* name : kUserRegisters) {
    const u64 value = value_of(dump, name);
    std::memcpy(data.data() + at, &value, sizeof value);
    at += sizeof value;
  }
  return data;
}

std::vector<u8> qemu_state(std::string_view dump) {
  constexpr u32 kVersion = 1;
  constexpr u32 kBytes = 8 + sizeof(kQemuRegisters) / sizeof(char*) * 8 + 10 * sizeof(Segment) + 5 * 8 + 8;
  std::vector<u8> data;
  put(data, kVersion);
  put(data, kBytes);
  for (const char* name : kQemuRegisters) put(data, value_of(dump, name));
  for (const char* name : kSegments) put(data, read_segment(dump, name));
  for (const char* name : {"cr0", "", "cr2", "cr3", "cr4"}) put(data, *name == 0 ? u64(0) : value_of(dump, name));
  put(data, u64(0));  // kernel GS base: register dumps do not show it
  return data;
}

}  // namespace

std::vector<u8> make_elf_core_head(const std::vector<RamRange>& ranges, const std::vector<std::string>& registers) {
  std::vector<u8> notes;
  for (std::size_t i = 0; i < registers.size(); i++)
    put_note(notes, "CORE", kPrStatus, prstatus(registers[i], u32(i + 1)));
  for (const std::string& dump : registers) put_note(notes, "QEMU", 0, qemu_state(dump));

  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_CORE;
  header.e_machine = EM_X86_64;
  header.e_version = EV_CURRENT;
  header.e_phoff = sizeof header;
  header.e_ehsize = sizeof header;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = Elf64_Half(1 + ranges.size());

  std::vector<u8> out;
  put(out, header);
  const u64 notes_at = sizeof header + (1 + ranges.size()) * sizeof(Elf64_Phdr);
  Elf64_Phdr note{};
  note.p_type = PT_NOTE;
  note.p_offset = notes_at;
  note.p_filesz = notes.size();
  note.p_memsz = notes.size();
  put(out, note);
  u64 at = notes_at + notes.size();
  for (const RamRange& range : ranges) {
    Elf64_Phdr load{};
    load.p_type = PT_LOAD;
    load.p_offset = at;
    load.p_paddr = range.address;
    load.p_filesz = range.size;
    load.p_memsz = range.size;
    put(out, load);
    at += range.size;
  }
  out.insert(out.end(), notes.begin(), notes.end());
  return out;
}

std::vector<RamRange> clip_ranges(const std::vector<RamRange>& ranges, u64 begin, u64 length) {
  const u64 end = length > ~u64(0) - begin ? ~u64(0) : begin + length;
  std::vector<RamRange> clipped;
  for (const RamRange& range : ranges) {
    const u64 first = std::max(range.address, begin), last = std::min(range.end(), end);
    if (first < last) clipped.push_back({first, last - first});
  }
  return clipped;
}

}  // namespace emu::monitor
