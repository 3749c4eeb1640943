// SPDX-License-Identifier: Apache-2.0
// Runs instructions as our guest CPU does at CPL 3: translated, then interpreted or as host code.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "isa/guest_memory.h"
#include "isa/state.h"
#include "target/x86/cpu.h"
#include "target/x86/translate.h"
#include "tcg/abi/env_storage.h"
#include "tcg/ir/backend.h"
#include "tcg/passes/passes.h"
#include "util/result.h"

namespace emu::isa {

/// What a case is optimised with: everything, or everything but one pass.
enum class Passes : u8 { All, NoDeadCode, FoldTwice, NoSharedChecks, kCount };
constexpr const char* name(Passes p) {
  constexpr const char* kNames[] = {"all", "no dead code", "folded twice", "no shared checks"};
  return kNames[unsigned(p)];
}

/// How translated code is run.
enum class Engine : u8 { Interpreter, HostCode };
constexpr const char* name(Engine e) { return e == Engine::Interpreter ? "interpreter" : "host code"; }

/// What the software TLB holds when host code begins: everything that may be there, in the first level or only in the
/// second, or nothing.
enum class Tlb : u8 { Full, SecondLevel, Empty };

class GuestRunner {
 public:
  static Result<std::unique_ptr<GuestRunner>> create(u8* window, const u8* code, bool avx512);
  ~GuestRunner();

  /// Which exceptions the states to come unmask: before set_code(), since it is in the mode.
  void set_traps(bool simd, bool x87, bool avx512) {
    avx512_ = avx512;
    simd_traps_ = simd;
    x87_traps_ = x87;
  }
  /// Translates `code` as one block at kCodeAt, of `insns` instructions. `flags` are those it begins with: AC is in the
  /// mode. False: too complex for one block of host code.
  bool set_code(std::span<const u8> code, unsigned insns, Bits bits, u64 flags, Passes passes);
  Outcome run(State& state, Engine engine, Tlb tlb);

  x86::X86Cpu& cpu() { return *cpu_; }
  x86::Mode mode() const { return mode_; }
  /// Guest listing, IR before and after the passes, host code.
  std::string listing() const;

 private:
  struct Services;
  explicit GuestRunner(u8* window, const u8* code);
  Result<void> make_code(bool avx512);
  void set_mode(Bits bits, bool align_check);
  void load(const State& state);
  void store(State& state);
  void fill_tlb(Tlb tlb);
  Outcome outcome(tcg::ExitReason reason, u64 pc, u64 arg);
  tcg::ExitReason run_host_code();

  // What thunks call.
  static GuestRunner& of(tcg::EnvHeader& env) { return *reinterpret_cast<GuestRunner*>(env.runtime); }
  static const u8* to_lookup(tcg::EnvHeader& env) { return of(env).leave(tcg::ExitReason::Lookup); }
  static const u8* on_exit_request(tcg::EnvHeader& env);
  static const u8* on_trap(tcg::EnvHeader& env);
  static const u8* on_helper_left(tcg::EnvHeader& env);
  static const u8* on_slow_access(tcg::EnvHeader& env) { return of(env).access(); }
  const u8* leave(tcg::ExitReason reason);
  const u8* leave_at(const ir::RecoveryPoint& point, u32 delta, tcg::ExitReason reason);
  const u8* access();
  struct Code {
    const u8 *hot = nullptr, *cold = nullptr;
    u64 pc = 0;
    ir::CompiledBlock compiled;
    ir::CodeParts parts() const { return {hot, cold, compiled.hot_size}; }
  };
  bool compile(Code& code, const ir::Block& block, size_t room_at, bool share_checks);
  void compile_rest(const ir::RecoveryPoint& from);
  tcg::ExitReason enter(const Code& code);
  bool perform(const ir::AccessRecord& record, u64 va);
  ir::RecoveryPoint point();

  u8* window_;
  x86::X86Translator translator_;
  GuestMemory memory_;
  std::unique_ptr<Services> services_;
  std::unique_ptr<x86::X86Cpu> cpu_;
  std::unique_ptr<ir::HostBackend> backend_;
  tcg::ThunkTable thunks_;
  std::unique_ptr<tcg::View> view_;
  std::vector<tcg::L2Entry> l2_{tcg::kL2Sets * tcg::kL2Ways};
  std::vector<tcg::WriteOwner> owners_{tcg::kWriteOwners};
  tcg::PageTracking tracking_{};
  u8 page_flags_ = 0;
  std::unique_ptr<tcg::JumpCacheEntry[]> jump_cache_;
  u8* room_ = nullptr;
  Code whole_;
  Code rest_;  ///< from an instruction on that is to be executed again without shared checks
  const Code* running_ = nullptr;
  ir::Block before_, after_;
  void optimize(ir::Block& block) const;
  Passes passes_ = Passes::All;
  unsigned insns_ = 0;
  std::optional<ir::RecoveryPoint> unshares_at_;
  x86::Mode mode_;
  Bits bits_ = Bits::k64;
  bool simd_traps_ = false, x87_traps_ = false, avx512_ = false;
  std::vector<u8> source_;
};

}  // namespace emu::isa
