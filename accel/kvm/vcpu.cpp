// SPDX-License-Identifier: Apache-2.0
#include "accel/kvm/vcpu.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "util/log.h"
#include "util/sys/futex.h"
#include "util/thread.h"
#include "util/trace.h"

namespace emu::accel {
namespace {

/// Rarely used by libraries, and not by us otherwise.
int kick_signal() { return SIGRTMIN + 3; }

extern "C" void ignore_signal(int) {}

mem::MemTxAttrs cpu_access(unsigned index) {
  return {.requester = mem::MemTxAttrs::Requester::Cpu, .requester_id = u16(index)};
}

}  // namespace

void install_kick_signal() {
  struct sigaction action {};
  action.sa_handler = ignore_signal;  // interrupting KVM_RUN is all it is for
  action.sa_flags = SA_RESTART;
  ::sigaction(kick_signal(), &action, nullptr);
}

Result<std::unique_ptr<KvmVcpu>> KvmVcpu::create(KvmShared& shared, const KvmDevice& device, KvmFd fd,
                                                 KvmTarget& target, target::Vcpu& cpu, mem::AddressSpace& memory,
                                                 mem::AddressSpace* ports) {
  u8* const run = fd.api().map(fd.fd(), device.run_bytes(), 0);
  if (run == nullptr) return error("KVM gives no memory for vCPU {}", cpu.index());
  std::unique_ptr<KvmVcpu> made(new KvmVcpu(shared, std::move(fd), run, device.run_bytes(), cpu, memory, ports));
  if (shared.ring_entries != 0) EMU_TRY(made->map_ring());
  made->arch_ = EMU_TRY(target.make_cpu({cpu, made->fd_, made->run_, target.kernel_chips()}));
  cpu.attach(made->access_, *made);
  EMU_TRY(made->arch_->set_up(), fmt::format("vCPU {}", cpu.index()));
  return made;
}

KvmVcpu::KvmVcpu(KvmShared& shared, KvmFd fd, u8* run, size_t run_bytes, target::Vcpu& cpu, mem::AddressSpace& memory,
                 mem::AddressSpace* ports)
    : shared_(shared), fd_(std::move(fd)), run_area_(run), run_bytes_(run_bytes),
      run_(*reinterpret_cast<kvm_run*>(run)), cpu_(cpu), env_(cpu.env()), memory_(memory), ports_(ports),
      access_(memory), kernel_statistics_(fd_) {}

KvmVcpu::~KvmVcpu() {
  join();
  arch_.reset();
  if (!ring_.empty()) fd_.api().unmap(reinterpret_cast<u8*>(ring_.data()), ring_.size_bytes());
  fd_.api().unmap(run_area_, run_bytes_);
}

Result<void> KvmVcpu::map_ring() {
  const size_t bytes = shared_.ring_entries * sizeof(kvm_dirty_gfn);
  u8* const memory = fd_.api().map(fd_.fd(), bytes, u64(KVM_DIRTY_LOG_PAGE_OFFSET) * mem::kPageSize);
  if (memory == nullptr) return error("KVM gives no dirty ring for vCPU {}", cpu_.index());
  ring_ = std::span(reinterpret_cast<kvm_dirty_gfn*>(memory), shared_.ring_entries);
  shared_.slots->add_ring(ring_);
  return {};
}

void KvmVcpu::start() {
  thread_ = start_thread(fmt::format("vcpu {}", cpu_.index()), [this] { thread_main(); });
}

void KvmVcpu::join() {
  if (thread_.joinable()) thread_.join();
}

/// As under translation: the requester sets the bit, then looks whether the vCPU sleeps or is in the kernel; the vCPU
/// says so, then looks at the bits. immediate_exit closes the gap between that look and KVM_RUN.
void KvmVcpu::kick(u32 exit_request_bits) {
  env_.exit_req.fetch_or(exit_request_bits, std::memory_order_seq_cst);
  if (asleep_.load(std::memory_order_seq_cst)) sys::futex_wake(env_.exit_req);
  expel();
}

/// One signal for each time that it is in there: signals of this kind queue, and whoever asks again and again until the
/// vCPU is out could send them faster than its thread takes them, for ever.
void KvmVcpu::expel() {
  if (!in_kernel_.load(std::memory_order_seq_cst)) return;
  if (__atomic_exchange_n(&run_.immediate_exit, 1, __ATOMIC_SEQ_CST) != 0) return;
  ::syscall(SYS_tgkill, ::getpid(), thread_id(), kick_signal());
}

void KvmVcpu::set_debug_run(DebugRun run, StepEvents events) {
  defer_events_ = events == StepEvents::Deferred;
  run_as_ = run;
  held_ = run == DebugRun::Hold;
}

// --- The thread ---

void KvmVcpu::thread_main() {
  sigset_t kick;
  sigemptyset(&kick);
  sigaddset(&kick, kick_signal());
  ::pthread_sigmask(SIG_UNBLOCK, &kick, nullptr);
  thread_id_.store(::gettid());
  thread_id_.notify_all();
  while (shared_.run.wait_to_run(held_)) {
    if (begin()) {
      for (;;) {
        serve();
        if (shared_.run.should_stop()) break;
        if (enter() == Next::Stop) break;
      }
    }
    end();
    shared_.run.leave();
  }
}

/// From the Vcpu to the kernel. False: refused, which was reported.
bool KvmVcpu::begin() {
  shutdown_reported_ = false;
  stands_ = false;
  auto put = arch_->put_state();
  const bool stepping = run_as_ == DebugRun::Step;
  if (put) {
    const size_t watched = std::min<size_t>(shared_.points.watchpoints.size(), shared_.hardware_points);
    put = arch_->set_debugging({.step = stepping,
                                .block_events = defer_events_,
                                .breakpoints = !shared_.points.breakpoints.empty(),
                                .watchpoints = std::span(shared_.points.watchpoints).first(watched)});
  }
  if (put) return true;
  fail(put.error().message());
  return false;
}

void KvmVcpu::end() {
  finish_instruction();
  shared_.writes->drain();
  if (const auto got = arch_->get_state(); !got) log::error("vCPU {}: {}", cpu_.index(), got.error().message());
  if (stands_) wait_until_stopped();
}

void KvmVcpu::wait_until_stopped() {
  while (!shared_.run.should_stop()) {
    asleep_.store(true, std::memory_order_seq_cst);
    if (env_.exit_req.exchange(0, std::memory_order_seq_cst) == 0 && !shared_.run.should_stop()) {
      sys::futex_wait(env_.exit_req, 0);
    }
    asleep_.store(false, std::memory_order_seq_cst);
  }
}

void KvmVcpu::serve() {
  if (env_.exit_req.load(std::memory_order_relaxed) != 0) env_.exit_req.exchange(0, std::memory_order_seq_cst);
}

void KvmVcpu::sleep() {
  KvmStatistics::add(statistics_.sleeps);
  EMU_TRACE("vcpu_halt", "vcpu {} pc {:#x}", cpu_.index(), env_.pc);
  asleep_.store(true, std::memory_order_seq_cst);
  while (env_.exit_req.load(std::memory_order_seq_cst) == 0 && !shared_.run.should_stop() && !arch_->wakeup_pending()) {
    sys::futex_wait(env_.exit_req, 0);
  }
  asleep_.store(false, std::memory_order_seq_cst);
}

KvmVcpu::Next KvmVcpu::enter() {
  switch (arch_->before_run()) {
    case KvmCpu::Ready::Run:
      break;
    case KvmCpu::Ready::Failed:
      return fail("KVM takes no event");
    case KvmCpu::Ready::Shutdown:
    case KvmCpu::Ready::Sleep:
      sleep();
      return Next::GoOn;
  }
  const int result = run_kernel();
  arch_->after_run();
  shared_.writes->drain();
  if (result == -EINTR || result == -EAGAIN) {
    KvmStatistics::add(statistics_.kicked);
    return Next::GoOn;
  }
  if (result < 0) return fail(fmt::format("KVM_RUN: {}", std::strerror(-result)));
  return handle_exit();
}

/// Whoever changes slots sets slots_change, then waits for in_kernel_ to clear; going in is sequentially consistent.
/// Locked instructions are left out where that allows: they are a good part of what an exit costs outside the kernel.
int KvmVcpu::run_kernel() {
  int result = -EINTR;
  if (__atomic_load_n(&run_.immediate_exit, __ATOMIC_RELAXED) != 0) {
    __atomic_store_n(&run_.immediate_exit, 0, __ATOMIC_SEQ_CST);
  }
  in_kernel_.store(true, std::memory_order_seq_cst);
  if (shared_.slots_change.load(std::memory_order_seq_cst)) {
    in_kernel_.store(false, std::memory_order_seq_cst);
    shared_.slots_change.wait(true);
    return result;
  }
  if (env_.exit_req.load(std::memory_order_seq_cst) == 0) {
    result = fd_.call(KVM_RUN);
    unfinished_ = false;
  }
  in_kernel_.store(false, std::memory_order_release);
  return result;
}

/// The kernel completes an instruction that left for a device when it is entered again: only then the state is whole. A
/// string instruction between devices leaves twice for each element, and looks up from it after 1024 of them.
void KvmVcpu::finish_instruction() {
  constexpr unsigned kMostPieces = 4096;
  for (unsigned piece = 0; unfinished_ && piece < kMostPieces; ++piece) {
    __atomic_store_n(&run_.immediate_exit, 1, __ATOMIC_SEQ_CST);
    const int result = fd_.call(KVM_RUN);
    unfinished_ = false;
    if (result < 0) return;
    if (run_.exit_reason == KVM_EXIT_IO) {
      handle_port();
    } else if (run_.exit_reason == KVM_EXIT_MMIO) {
      handle_memory();
    } else {
      return;
    }
  }
}

// --- What it left for ---

KvmVcpu::Next KvmVcpu::handle_exit() {
  const u32 reason = run_.exit_reason;
  KvmStatistics::add(statistics_.exits[std::min(reason, KvmStatistics::kReasons - 1)]);
  switch (reason) {
    case KVM_EXIT_IO:
      handle_port();
      return Next::GoOn;
    case KVM_EXIT_MMIO:
      handle_memory();
      return Next::GoOn;
    case KVM_EXIT_HLT:
      arch_->halted();
      return Next::GoOn;
    case KVM_EXIT_IRQ_WINDOW_OPEN:
    case KVM_EXIT_INTR:
      return Next::GoOn;
    case KVM_EXIT_SHUTDOWN: {
      if (const auto got = arch_->get_state(); !got) return fail(got.error().message());
      if (std::exchange(shutdown_reported_, true)) return Next::GoOn;
      shared_.client.vcpu_shut_down(cpu_, arch_->shutdown_reason());
      return Next::GoOn;
    }
    case KVM_EXIT_SYSTEM_EVENT:
      shared_.client.vcpu_shut_down(cpu_, fmt::format("system event {}", run_.system_event.type));
      arch_->halted();
      return Next::GoOn;
    case KVM_EXIT_DIRTY_RING_FULL:
      shared_.slots->collect_rings();
      return Next::GoOn;
    case KVM_EXIT_DEBUG:
      return handle_debug();
    case KVM_EXIT_INTERNAL_ERROR:
      return stands_at_breakpoint() ? stop_for_debugger({.address = env_.pc}) : fail(describe_failure());
    case KVM_EXIT_FAIL_ENTRY:
    case KVM_EXIT_UNKNOWN:
      return fail(describe_failure());
    default:
      if (arch_->handle_exit()) return Next::GoOn;
      return fail(describe_failure());
  }
}

/// `count` elements of `size` bytes: string instructions with a repeat prefix come many at a time.
void KvmVcpu::handle_port() {
  const auto& io = run_.io;
  unfinished_ = true;
  const u64 bytes = u64(io.size) * io.count;
  const bool sound = (io.size == 1 || io.size == 2 || io.size == 4) && io.data_offset <= run_bytes_ &&
                     bytes <= run_bytes_ - io.data_offset;
  EMU_CHECK(sound);  // the kernel's word
  u8* data = run_area_ + io.data_offset;
  const mem::MemTxAttrs attrs = cpu_access(cpu_.index());
  for (u32 i = 0; i < io.count; ++i, data += io.size) {
    u64 value = 0;
    if (io.direction == KVM_EXIT_IO_OUT) {
      std::memcpy(&value, data, io.size);
      if (ports_ != nullptr) static_cast<void>(ports_->store(io.port, io.size, value, attrs));
    } else {
      value = ~u64(0);
      if (ports_ != nullptr) static_cast<void>(ports_->load(io.port, io.size, value, attrs));
      std::memcpy(data, &value, io.size);
    }
  }
}

void KvmVcpu::handle_memory() {
  auto& access = run_.mmio;
  unfinished_ = true;
  EMU_CHECK(access.len >= 1 && access.len <= sizeof access.data);  // the kernel's word
  const mem::MemTxAttrs attrs = cpu_access(cpu_.index());
  const bool whole = (access.len & (access.len - 1)) == 0;
  const unsigned piece = whole ? access.len : 1;
  for (unsigned at = 0; at < access.len; at += piece) {
    u64 value = 0;
    if (access.is_write) {
      std::memcpy(&value, access.data + at, piece);
      static_cast<void>(memory_.store(access.phys_addr + at, piece, value, attrs));
    } else {
      value = ~u64(0);
      static_cast<void>(memory_.load(access.phys_addr + at, piece, value, attrs));
      std::memcpy(access.data + at, &value, piece);
    }
  }
}

// --- When it cannot go on ---

KvmVcpu::Next KvmVcpu::fail(const std::string& why) {
  stands_ = true;
  shared_.client.vcpu_failed(cpu_, why);
  return Next::Stop;
}

bool KvmVcpu::read_code(u64 linear, std::span<u8> bytes) const {
  const mem::MemTxAttrs attrs{.requester = mem::MemTxAttrs::Requester::Cpu, .debug = true};
  for (size_t i = 0; i < bytes.size(); ++i) {
    const auto physical = cpu_.debug_translate(linear + i);
    if (!physical || memory_.read(cpu_.wrap_physical(*physical), bytes.subspan(i, 1), attrs) != mem::MemTxResult::Ok) {
      return false;
    }
  }
  return true;
}

/// The instruction at the pc, and all registers. State was fetched.
std::string KvmVcpu::describe_place() const {
  constexpr size_t kLongest = 15;
  std::array<u8, kLongest> code{};
  size_t have = 0;
  while (have < code.size() && read_code(env_.pc + have, std::span(code).subspan(have, 1))) ++have;
  std::string bytes, listing = have == 0 ? "there is no memory there\n" : "";
  for (size_t i = 0; i < have; ++i) bytes += fmt::format("{:02x} ", code[i]);
  if (have != 0) {
    listing = cpu_.translator().disassemble(std::span(code).first(have), env_.pc, cpu_.mode_key());
    listing = listing.substr(0, listing.find('\n') + 1);
  }
  return fmt::format("at {:#x}: {}{}{}", env_.pc, bytes.empty() ? "" : bytes + "\n", listing, cpu_.dump_registers());
}

std::string KvmVcpu::describe_failure() {
  std::string why;
  switch (run_.exit_reason) {
    case KVM_EXIT_INTERNAL_ERROR: {
      const u32 kind = run_.internal.suberror;
      why = kind == KVM_INTERNAL_ERROR_EMULATION         ? "KVM cannot emulate the instruction"
            : kind == KVM_INTERNAL_ERROR_SIMUL_EX        ? "KVM met an exception while it delivered another"
            : kind == KVM_INTERNAL_ERROR_DELIVERY_EV     ? "KVM failed to deliver an event"
            : kind == KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON ? "KVM met an exit that it does not know"
                                                         : fmt::format("KVM's internal error {}", kind);
      for (u32 i = 0; i < std::min<u32>(run_.internal.ndata, std::size(run_.internal.data)); ++i) {
        why += fmt::format("{} {:#x}", i == 0 ? ", data" : "", u64(run_.internal.data[i]));
      }
      break;
    }
    case KVM_EXIT_FAIL_ENTRY:
      why = fmt::format("the host's processor refuses to enter the guest, reason {:#x}",
                        u64(run_.fail_entry.hardware_entry_failure_reason));
      break;
    case KVM_EXIT_UNKNOWN:
      why = fmt::format("an exit that KVM does not know, hardware reason {:#x}", u64(run_.hw.hardware_exit_reason));
      break;
    default:
      why = fmt::format("an exit of KVM's that this program does not know: {}", run_.exit_reason);
      break;
  }
  if (const auto got = arch_->get_state(); !got) return why + "; " + got.error().message();
  return why + "\n" + describe_place();
}

// --- Debugger ---

KvmVcpu::Next KvmVcpu::handle_debug() {
  const std::optional<DebugStop> stop = arch_->debug_stop(shared_.points, run_as_ == DebugRun::Step);
  return stop ? stop_for_debugger(*stop) : Next::GoOn;
}

KvmVcpu::Next KvmVcpu::stop_for_debugger(const DebugStop& stop) {
  stands_ = true;
  shared_.client.stopped_for_debugger(cpu_, stop);
  return Next::Stop;
}

/// A KVM without hardware support emulates, and may not know the instruction that breakpoints are made of.
bool KvmVcpu::stands_at_breakpoint() {
  if (run_.internal.suberror != KVM_INTERNAL_ERROR_EMULATION || shared_.points.breakpoints.empty()) return false;
  if (!arch_->get_state()) return false;
  const std::vector<u64>& points = shared_.points.breakpoints;
  return std::find(points.begin(), points.end(), env_.pc) != points.end();
}

}  // namespace emu::accel
