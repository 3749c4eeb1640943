// SPDX-License-Identifier: Apache-2.0
// The vCPU's thread: kick, halt, requests and quiescent points.
#include <sched.h>
#include <unistd.h>

#include <chrono>

#include "accel/tcg/host_ops.h"
#include "accel/tcg/runtime_vcpu.h"
#include "util/log.h"
#include "util/sys/futex.h"
#include "util/thread.h"
#include "util/trace.h"

namespace emu::tcg {

using namespace accel;

RuntimeVcpu::RuntimeVcpu(TcgShared& shared, target::Vcpu& cpu, mem::AddressSpace& memory, mem::AddressSpace* ports)
    : shared_(shared), cpu_(cpu), env_(cpu.env()), address_space_(memory), tlb_(cpu, memory, shared.debug, statistics_),
      memory_({cpu, tlb_, memory, ports, *shared.blocks, *this, shared.split_locks, shared.debug, statistics_,
               participant_, shared.techniques.string_runs}),
      memory_participant_(memory.memory().grace()),
      builder_(scratch_ir_, shared.translator->layout(), shared.translator->helpers()) {
  env_.runtime = this;
  shared_.quiescence.add(participant_);
  cpu_.attach(memory_, *this);
  tlb_.load_mode(cpu_.mode_key(), cpu_.current_view());  // so that memory can be reached before the first run
}

RuntimeVcpu::~RuntimeVcpu() { join(); }

void RuntimeVcpu::start() {
  thread_ = start_thread(fmt::format("vcpu {}", cpu_.index()), [this] { thread_main(); });
}

void RuntimeVcpu::wait_until_started() const { thread_id_.wait(0); }

void RuntimeVcpu::join() {
  if (thread_.joinable()) thread_.join();
}

/// The requester sets the bit, then looks whether the vCPU sleeps; the vCPU says that it sleeps, then looks at the
/// bits, and sleeps on that very word. All sequentially consistent: with less a wake-up gets lost.
void RuntimeVcpu::kick(u32 exit_request_bits) {
  env_.exit_req.fetch_or(exit_request_bits, std::memory_order_seq_cst);
  if (halted_.load(std::memory_order_seq_cst)) sys::futex_wake(env_.exit_req);
  if (shared_.icount != nullptr) shared_.icount->kicked((exit_request_bits & kExitStop) != 0);
}

void RuntimeVcpu::request(const TlbRequest& request) {
  tlb_.request(request);
  kick(kExitFlush | kExitWork);
}

void RuntimeVcpu::leave_block() {
  if (env_.leave == kLeaveNot) env_.leave = kLeaveAfterInsn;
}

void RuntimeVcpu::switch_context(u64 id, bool keep) {
  tlb_.switch_context(id, keep && shared_.techniques.kept_contexts);
  mode_is_stale_ = true;
}

/// Whoever saw us quiescent relies on our applying what was requested before: serve_requests() follows at once.
void RuntimeVcpu::quiescent() {
  shared_.quiescence.quiescent(participant_);
  memory_participant_.quiescent();
}

void RuntimeVcpu::offline() {
  shared_.quiescence.offline(participant_);
  memory_participant_.offline();
}

void RuntimeVcpu::thread_main() {
  thread_id_.store(::gettid());
  thread_id_.notify_all();
  env_.fp_control_host = host_fp_control();
  if (shared_.icount != nullptr) shared_.icount->started(cpu_.index());
  while (shared_.run.wait_to_run(held_)) {
    // While we stood still the CPU may have been reset, and its whole state with it.
    env_.runtime = this;
    env_.leave = kLeaveNot;
    step_alone_ = false;
    debug_stop_.reset();
    shutdown_reported_ = false;
    quiescent();
    tlb_.flush_all();
    mode_is_stale_ = true;
    while (serve_requests()) {
      if (shared_.icount != nullptr && !take_turn()) continue;
      if (shared_.icount != nullptr && shared_.icount->is_replaying()) {
        rerun_one();
        quiescent();
        continue;
      }
      if (run_as_ == DebugRun::Step) {
        step();
      } else {
        take_events();
        if (!debug_stop_) {  // else what an interrupt pushed is watched
          if (halt_if_idle()) continue;
          run_one();
        }
      }
      if (debug_stop_) [[unlikely]] report_debug_stop();
      quiescent();
    }
    offline();
    if (shared_.icount != nullptr && shared_.icount->has_turn(cpu_.index())) shared_.icount->rest();
    shared_.run.leave();
  }
}

/// After quiescent(). False: stop running.
bool RuntimeVcpu::serve_requests() {
  if (env_.exit_req.load(std::memory_order_relaxed) != 0) {
    const u32 bits = env_.exit_req.exchange(0, std::memory_order_seq_cst);
    if (bits & kExitFlush) tlb_.apply_requests();
  }
  if (shared_.blocks->wants_collection()) shared_.blocks->collect(&participant_);
  return !shared_.run.should_stop();
}

void RuntimeVcpu::take_events() {
  while (!debug_stop_ && cpu_.has_deliverable_event()) {
    if (shared_.icount != nullptr) shared_.icount->note(Decision::Kind::Event);
    if (!cpu_.take_event()) return;
    mode_is_stale_ = true;
    step_alone_ = false;
    EMU_TRACE("vcpu_event", "vcpu {} pc {:#x}", cpu_.index(), env_.pc);
    log::write_if(log::Mask::Int, "vcpu {}: event taken, pc {:#x}\n", cpu_.index(), env_.pc);
  }
}

/// One nap of a CPU that waits for memory to change. True: it has.
bool RuntimeVcpu::poll_idle() {
  const ClockNs now = std::chrono::steady_clock::now().time_since_epoch();
  if (sys::futex_wait(env_.exit_req, 0, now + ClockNs(cpu_.idle_poll_ns())) != sys::FutexWait::TimedOut) return false;
  quiescent();  // online: it looks at memory
  const bool runs = cpu_.idle_poll();
  offline();
  return runs;
}

bool RuntimeVcpu::halt_if_idle() {
  const target::Halt state = cpu_.halt_state();
  if (state == target::Halt::Running) return false;
  if (state == target::Halt::Shutdown && !shutdown_reported_) {
    shutdown_reported_ = true;
    const std::string why = cpu_.shutdown_reason();
    shared_.client.vcpu_shut_down(
        cpu_, why.empty() ? fmt::format("vCPU {} shut down\n{}", cpu_.index(), cpu_.dump_registers()) : why);
  }
  if (shared_.icount != nullptr) return pass_idle();
  statistics_.halts.add();
  EMU_TRACE("vcpu_halt", "vcpu {} pc {:#x}", cpu_.index(), env_.pc);
  offline();
  halted_.store(true, std::memory_order_seq_cst);
  while (env_.exit_req.load(std::memory_order_seq_cst) == 0 && !shared_.run.should_stop() && !cpu_.wakeup_pending()) {
    if (cpu_.idle_poll_ns() == 0) {
      sys::futex_wait(env_.exit_req, 0);
    } else if (poll_idle()) {
      break;
    }
  }
  halted_.store(false, std::memory_order_seq_cst);
  quiescent();
  EMU_TRACE("vcpu_wake", "vcpu {}", cpu_.index());
  return true;
}

// --- In turn ---

bool RuntimeVcpu::take_turn() {
  Icount& icount = *shared_.icount;
  const unsigned index = cpu_.index();
  if (!icount.has_turn(index)) {
    offline();
    icount.wait_for_turn(index);
    quiescent();
    return false;
  }
  if (icount.is_replaying() || !icount.wants_grant()) return true;
  offline();  // timers may take the machine lock, and so their time
  icount.grant();
  quiescent();
  return icount.has_turn(index) && env_.exit_req.load(std::memory_order_relaxed) == 0;
}

/// Sleeping as far as the turn goes: one that waits for memory to change looks when anything has run since it did.
bool RuntimeVcpu::pass_idle() {
  if (cpu_.idle_poll_ns() != 0) {
    polled_activity_ = shared_.icount->activity();
    shared_.icount->note(Decision::Kind::Poll);
    if (cpu_.idle_poll()) return true;
  }
  statistics_.halts.add();
  EMU_TRACE("vcpu_halt", "vcpu {} pc {:#x}", cpu_.index(), env_.pc);
  offline();
  shared_.icount->idle();
  quiescent();
  return true;
}

bool RuntimeVcpu::wants_turn() const {
  return cpu_.halt_state() == target::Halt::Running || cpu_.wakeup_pending() ||
         (cpu_.idle_poll_ns() != 0 && polled_activity_ != shared_.icount->activity());
}

void RuntimeVcpu::yield() {
  if (shared_.icount != nullptr) {
    shared_.icount->yield();
    kick(kExitWork);
  } else if (shared_.overcommitted) {
    ::sched_yield();  // or the vCPU that this one waits for may not run until our time is used up
  }
}

// --- Debugger ---

/// One instruction by itself; or an event, where those come first. A CPU that sleeps is woken by one, whatever was
/// said.
void RuntimeVcpu::step() {
  if (!defer_events_ || cpu_.halt_state() != target::Halt::Running) {
    const u64 before = env_.pc;
    const target::Halt state = cpu_.halt_state();
    take_events();
    if (env_.pc != before || cpu_.halt_state() != state) {
      note_debug_stop({.why = DebugStop::Why::Step});
      return;
    }
    if (halt_if_idle()) return;
  }
  execute_alone(/*rounds=*/true);
  note_debug_stop({.why = DebugStop::Why::Step});
}

/// The instruction, or one round of it if it repeats itself and `rounds` says so.
void RuntimeVcpu::execute_alone(bool rounds) {
  if (mode_is_stale_) load_mode();
  env_.leave = kLeaveNot;
  step_alone_ = false;
  if (env_.guest_debug != 0 && guest_debug_event()) return;
  cpu_.set_stepping(rounds);
  interpret_alone(env_.pc);
  cpu_.set_stepping(false);
}

/// The first counts: a watchpoint that was hit goes before the end of the step that hit it.
void RuntimeVcpu::note_debug_stop(const DebugStop& stop) {
  if (!debug_stop_) debug_stop_ = stop;
}

void RuntimeVcpu::report_debug_stop() {
  const DebugStop stop = *debug_stop_;
  debug_stop_.reset();
  shared_.client.stopped_for_debugger(cpu_, stop);
}

/// A watched access is about to be made. In the middle of a block it is refused, so that its instruction is done by
/// itself and the CPU can stop right behind it.
bool RuntimeVcpu::watch_hit(const Watchpoint& watchpoint) {
  if (in_code_ || interpreted_ != nullptr) {
    step_alone_ = true;
    return false;
  }
  note_debug_stop({.why = DebugStop::Why::Watchpoint, .address = watchpoint.address, .kind = watchpoint.kind});
  return true;
}

void RuntimeVcpu::set_debug_run(DebugRun run, StepEvents events) {
  run_as_ = run;
  held_ = run == DebugRun::Hold;
  if (shared_.icount != nullptr) shared_.icount->set_held(cpu_.index(), held_);
  defer_events_ = events == StepEvents::Deferred;
}

/// All code memory is in use: the oldest segment goes, as soon as the others have left it.
void RuntimeVcpu::wait_for_code_memory() {
  shared_.blocks->collect(&participant_);
  offline();
  std::this_thread::sleep_for(std::chrono::microseconds(50));
}

}  // namespace emu::tcg
