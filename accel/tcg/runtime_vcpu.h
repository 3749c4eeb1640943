// SPDX-License-Identifier: Apache-2.0
// One vCPU as the translator runs it: thread, run loop, tables, and the callbacks of its generated code.
//
//   run loop:  requests → events → halt → mode → block (found or translated) → enter → what it left for → again
//
// Files: vcpu_thread.cpp (thread, kick, halt, requests), run_loop.cpp (blocks and exits), rerun.cpp (the same way
// again), translate.cpp, slow_path.cpp (callbacks of thunks).
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <thread>

#include "accel/tcg/guest_memory.h"
#include "accel/tcg/shared.h"

namespace emu::tcg {

struct RuntimeVcpu final : public target::CpuServices, private accel::RunningBlock, public accel::CountedVcpu {
 public:
  RuntimeVcpu(accel::TcgShared& shared, target::Vcpu& cpu, mem::AddressSpace& memory, mem::AddressSpace* ports);
  ~RuntimeVcpu() override;

  // Any thread
  void kick(u32 exit_request_bits) override;
  void request(const accel::TlbRequest& request);  ///< queues and kicks
  const accel::VcpuStatistics& statistics() const { return statistics_; }
  target::Vcpu& cpu() { return cpu_; }
  const accel::Quiescence::Participant& participant() const { return participant_; }

  // Main thread
  void start();
  /// Then thread_id() is known.
  void wait_until_started() const;
  i64 thread_id() const { return thread_id_.load(std::memory_order_relaxed); }
  void join();
  std::string dump_tlb() { return tlb_.dump(); }  ///< paused
  void set_debug_run(accel::DebugRun run, accel::StepEvents events);  ///< paused
  u64 polled_activity() const { return polled_activity_; }            ///< paused
  void set_polled_activity(u64 activity) { polled_activity_ = activity; }

  // CpuServices, own thread
  void leave_block() override;
  void flush_all() override { tlb_.flush_all(); }
  void flush_non_global() override { tlb_.flush_non_global(); }
  void flush_page(u64 va) override { tlb_.flush_page(va); }
  void flush_context(u64 id, std::optional<u64> va) override { tlb_.flush_context(id, va); }
  void switch_context(u64 id, bool keep) override;
  void mode_changed() override { mode_is_stale_ = true; }
  u64 ticks() override { return shared_.client.guest_ns(); }
  void yield() override;

  // CountedVcpu
  i64 instructions_left() override;
  bool wants_turn() const override;
  void look_up() override { kick(kExitWork); }
  u64 fingerprint() const override { return cpu_.fingerprint(); }

  // What thunks call (slow_path.cpp)
  static const u8* slow_access(EnvHeader& env);
  static const u8* helper_left(EnvHeader& env);
  static const u8* indirect_miss(EnvHeader& env);
  static const u8* link_miss(EnvHeader& env);
  static const u8* exit_request(EnvHeader& env);
  static const u8* trap(EnvHeader& env);
  static const u8* exit(EnvHeader& env);
  static const u8* mode_miss(EnvHeader& env);

 private:
  /// What looking for the block at a pc gave.
  struct Lookup {
    enum class What : u8 {
      Block,
      Fault,     ///< fetching faulted; the fault is pending
      Alone,     ///< not in RAM, or the cache's lock is taken: the one instruction there is interpreted
      NoRoom,    ///< code memory is used up: the run loop waits for some
      Breakpoint,  ///< a debugger wants the CPU to stop there
    } what = What::Fault;
    accel::CodeBlock* block = nullptr;
    bool global = false;  ///< the mapping survives a switch of address space
  };
  struct Site {
    u64 return_site = 0;
    u64 generation = 0;
    accel::CodeBlock* block = nullptr;
    ir::RecoveryPoint point;
  };
  class PageBytes;
  struct PageMark {
    mem::RamPage page = mem::kNoRamPage;
    accel::PageCode* code = nullptr;
  };
  static constexpr size_t kSites = 512;

  // vcpu_thread.cpp
  void thread_main();
  void quiescent();
  void offline();
  bool serve_requests();  ///< false: the thread is to end
  void take_events();
  bool poll_idle();
  bool halt_if_idle();    ///< true: it slept; look again
  bool take_turn();       ///< false: it was another's; look again
  bool pass_idle();
  void wait_for_code_memory();
  void step();
  void execute_alone(bool rounds);
  void note_debug_stop(const accel::DebugStop& stop);
  void report_debug_stop();

  // rerun.cpp
  void rerun_one();
  void act_again(const accel::Moment& now);
  void decide_again(const accel::Moment& now, const accel::Decision& decision);
  void execute_again(const accel::Moment& now, bool rounds);
  void diverge(const char* what);

  // run_loop.cpp
  void run_one();
  void load_mode();
  /// `unshared`, `limit`: see BlockKey.
  Lookup find_block(u64 pc, bool unshared = false, u32 limit = 0);
  Lookup find_fitting(u64 pc, bool unshared = false);
  Lookup find_in_ram(const accel::BlockKey& key, bool global);
  void enter(accel::CodeBlock& block);
  void interpret(accel::CodeBlock& block);
  void interpret_alone(u64 pc);
  void handle_exit(ExitReason reason);
  bool guest_debug_event();
  void log_entry(const accel::CodeBlock& block);
  std::string name_for_log(u64 address);
  std::optional<mem::RamPage> fetch_page(u64 va);

  // translate.cpp
  Lookup translate(const accel::BlockKey& key, bool global);
  accel::BlockCache::Inserted clone(const accel::BlockKey& key);
  enum class Compiled : u8 { Ok, NoRoom, Shorter };
  bool has_room();
  Compiled compile(accel::CodeBlock& block, std::span<const u8> source);
  bool may_leave_out_locks();
  bool build_ir(const target::TranslateRequest& request, target::GuestCode& code, target::TranslateResult& result);
  void log_translation(const accel::CodeBlock& block, std::span<const u8> source);

  // slow_path.cpp
  const accel::CodeBlock* running_block() override;
  void restart_alone() override { step_alone_ = true; }
  bool watch_hit(const accel::Watchpoint& watchpoint) override;
  Site& site_at(u64 return_site);
  const u8* exit_code(ExitReason reason);
  const u8* go_on_after(ExitReason reason);
  u8 view() const { return u8(env_.view_index); }
  const u8* leave_at_instruction(Site& site, ExitReason reason);
  void give_back(const Site& site, unsigned executed);
  const u8* continue_at(u64 pc, u64 link_key);
  const u8* access(Site& site);
  const u8* restart_unshared(Site& site);
  const accel::Link& missed_link(u64 key) const;
  bool is_in_l1(u64 va, bool write, u8 view_or_current);
  bool perform(const ir::AccessRecord& record, u64 va);

  accel::TcgShared& shared_;
  target::Vcpu& cpu_;
  EnvHeader& env_;
  mem::AddressSpace& address_space_;
  accel::VcpuStatistics statistics_;
  accel::SoftTlb tlb_;
  accel::GuestMemory memory_;
  accel::Quiescence::Participant participant_;
  mem::GracePeriods::Participant memory_participant_;
  std::thread thread_;
  std::atomic<i64> thread_id_{0};
  std::atomic<bool> halted_{false};
  bool shutdown_reported_ = false;

  std::atomic<bool> held_{false};
  accel::DebugRun run_as_ = accel::DebugRun::Continue;
  bool defer_events_ = false;
  std::optional<accel::DebugStop> debug_stop_;

  bool mode_is_stale_ = true;
  bool step_alone_ = false;   ///< the instruction at env.pc is executed by itself
  bool in_code_ = false;      ///< generated code is on the stack below us
  const accel::CodeBlock* interpreted_ = nullptr;
  u64 polled_activity_ = ~u64(0);  ///< -icount: when a CPU that waits for memory to change looked last

  // Reused from block to block.
  std::optional<bool> has_memory_alone_;  ///< no other CPU and no other process; once it was asked for
  ir::Block scratch_ir_;
  ir::Builder builder_;  ///< writes scratch_ir_
  ir::CompiledBlock compiled_;
  accel::CodeCache::Chunk hot_chunk_, cold_chunk_;
  PageMark marked_;  ///< translated from last, and still marked as holding code
  std::vector<Site> sites_{kSites};
};

}  // namespace emu::tcg
