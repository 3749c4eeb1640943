// SPDX-License-Identifier: Apache-2.0
#include "tcg/host/x86_64/backend.h"

#include <capstone/capstone.h>

#include "tcg/host/x86_64/compiler.h"
#include "util/check.h"

namespace emu::tcg::x86_64 {

X64Backend::X64Backend(const HostFeatures& features) : features_(features) {}
X64Backend::~X64Backend() { delete last_used_.load(); }

std::string X64Backend::name() const { return features_.avx512vl ? "x86_64-avx512vl" : "x86_64"; }

Result<void> X64Backend::configure(const ir::StateLayout& layout) {
  registers_ = EMU_TRY(make_register_map(layout, features_));
  return {};
}

std::unique_ptr<Compiler> X64Backend::take_compiler() {
  if (Compiler* compiler = last_used_.exchange(nullptr, std::memory_order_acquire)) {
    return std::unique_ptr<Compiler>(compiler);
  }
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) return std::make_unique<Compiler>(registers_);
  auto compiler = std::move(idle_.back());
  idle_.pop_back();
  return compiler;
}

void X64Backend::put_back(std::unique_ptr<Compiler> compiler) {
  std::unique_ptr<Compiler> other(last_used_.exchange(compiler.release(), std::memory_order_acq_rel));
  if (other == nullptr) return;
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(other));
}

ir::CompileStatus X64Backend::compile(const ir::CompileRequest& request, ir::CompiledBlock& result) {
  auto compiler = take_compiler();
  const ir::CompileStatus status = compiler->compile(request, result);
  put_back(std::move(compiler));
  return status;
}

std::string X64Backend::disassemble(std::span<const u8> code, u64 address) const {
  csh handle = 0;
  if (cs_open(CS_ARCH_X86, CS_MODE_64, &handle) != CS_ERR_OK) return {};
  std::string text;
  cs_insn* insn = cs_malloc(handle);
  const uint8_t* at = code.data();
  size_t left = code.size();
  while (left > 0) {
    if (cs_disasm_iter(handle, &at, &left, &address, insn)) {
      text += fmt::format("{:#x}: {} {}\n", insn->address, insn->mnemonic, insn->op_str);
    } else {
      text += fmt::format("{:#x}: .byte {:#04x}\n", address++, *at++);
      --left;
    }
  }
  cs_free(insn, 1);
  cs_close(&handle);
  return text;
}

}  // namespace emu::tcg::x86_64
