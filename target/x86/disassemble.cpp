// SPDX-License-Identifier: Apache-2.0
// Guest listings for -d in_asm: lengths and names from our own tables, operands from Capstone.
#include <capstone/capstone.h>
#include <fmt/format.h>

#include "target/x86/translate.h"

namespace emu::x86 {
namespace {

/// Owns a Capstone handle for one mode.
class Listing {
 public:
  explicit Listing(Mode mode) {
    const cs_mode bits = mode.has(Mode::kCode64) ? CS_MODE_64 : mode.has(Mode::kCode32) ? CS_MODE_32 : CS_MODE_16;
    is_open_ = cs_open(CS_ARCH_X86, bits, &handle_) == CS_ERR_OK;
  }
  ~Listing() {
    if (is_open_) cs_close(&handle_);
  }
  Listing(const Listing&) = delete;
  Listing& operator=(const Listing&) = delete;

  /// Empty if Capstone does not know the bytes or sees another length.
  std::string text(std::span<const u8> bytes, u64 pc) const {
    if (!is_open_) return {};
    cs_insn* insn = nullptr;
    const size_t n = cs_disasm(handle_, bytes.data(), bytes.size(), pc, 1, &insn);
    if (n == 0) return {};
    std::string line;
    if (insn->size == bytes.size()) line = fmt::format("{} {}", insn->mnemonic, insn->op_str);
    cs_free(insn, n);
    return line;
  }

 private:
  csh handle_ = 0;
  bool is_open_ = false;
};

}  // namespace

std::string X86Translator::disassemble(std::span<const u8> bytes, u64 pc, u32 mode_key) const {
  const Mode mode{mode_key};
  const Listing listing(mode);
  std::string text;
  for (size_t at = 0; at < bytes.size();) {
    Insn insn;
    if (decode(bytes.subspan(at), mode, features_, insn) == DecodeStatus::Truncated) break;
    const size_t length = std::min<size_t>(insn.length ? insn.length : 1, bytes.size() - at);
    const std::span<const u8> own = bytes.subspan(at, length);
    std::string hex;
    for (const u8 byte : own) hex += fmt::format("{:02x}", byte);
    std::string line = listing.text(own, pc + at);
    if (line.empty()) line = insn.row->name;
    if (insn.row->is_missing()) line += "  ; not translated";
    text += fmt::format("{:#018x}:  {:<30} {}\n", pc + at, hex, line);
    at += length;
  }
  return text;
}

}  // namespace emu::x86
