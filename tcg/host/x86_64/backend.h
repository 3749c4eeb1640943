// SPDX-License-Identifier: Apache-2.0
// The x86-64 HostBackend. Baseline x86-64-v3 (AVX2, BMI1/2, MOVBE, LZCNT); AVX-512VL gives more vector registers.
#pragma once

#include <memory>
#include <atomic>
#include <mutex>
#include <vector>

#include "tcg/host/x86_64/registers.h"
#include "tcg/ir/backend.h"

namespace emu::tcg::x86_64 {

class Compiler;

class X64Backend final : public ir::HostBackend {
 public:
  explicit X64Backend(const HostFeatures& features);
  ~X64Backend() override;

  std::string name() const override;
  Result<void> configure(const ir::StateLayout& layout) override;
  Result<ThunkTable> emit_thunks(ir::CodeSpan room, const ir::StateLayout& layout, const RuntimeCallbacks& callbacks,
                                 size_t& used) override;
  ir::CompileStatus compile(const ir::CompileRequest& request, ir::CompiledBlock& result) override;
  const u8* link(ir::CodeSpan site, ir::LinkKind kind, u64 target_pc, u32 page_id, const u8* target) override;
  void unlink(ir::CodeSpan site, const u8* stub) override;
  bool relocate(ir::CodeSpan hot, ir::CodeSpan cold, const ir::CodeParts& from, u64 pc_moves,
                std::span<const u8> relocations) const override;
  void reset_link(ir::CodeSpan site, const u8* key) const override;
  u64 redirect_entry(ir::CodeSpan entry, const u8* stub) override;
  void restore_entry(ir::CodeSpan entry, u64 bytes) override;
  size_t emit_pc_stub(ir::CodeSpan room, u64 pc, const u8* thunk) override;
  size_t emit_checked_stub(ir::CodeSpan room, u64 pc, const u8* source, std::span<const u8> copy, const u8* body,
                           const u8* thunk) override;
  std::string disassemble(std::span<const u8> code, u64 address) const override;

  const RegisterMap& registers() const { return registers_; }
  const HostFeatures& features() const { return features_; }

 private:
  std::unique_ptr<Compiler> take_compiler();
  void put_back(std::unique_ptr<Compiler> compiler);

  HostFeatures features_;
  RegisterMap registers_;
  std::atomic<Compiler*> last_used_{nullptr};  ///< idle, with its buffers; owned
  std::mutex mutex_;
  std::vector<std::unique_ptr<Compiler>> idle_;  ///< with their buffers; guarded by mutex_
};

}  // namespace emu::tcg::x86_64
