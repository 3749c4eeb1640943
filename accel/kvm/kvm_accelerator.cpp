// SPDX-License-Identifier: Apache-2.0
#include "accel/kvm/kvm_accelerator.h"

#include <sched.h>

#include "util/check.h"
#include "util/log.h"

namespace emu::accel {
namespace {

/// Some kernels say 0 when they mean this.
constexpr unsigned kLeastSlots = 32;
constexpr unsigned kMostSlots = 512;  // our views have a few dozen stretches of RAM

mem::MemTxAttrs debugger() { return {.requester = mem::MemTxAttrs::Requester::Host, .debug = true}; }

const char* exit_name(unsigned reason) {
  switch (reason) {
    case KVM_EXIT_IO: return "port accesses";
    case KVM_EXIT_MMIO: return "device memory accesses";
    case KVM_EXIT_HLT: return "halts";
    case KVM_EXIT_IRQ_WINDOW_OPEN: return "interrupt windows";
    case KVM_EXIT_SHUTDOWN: return "shutdowns";
    case KVM_EXIT_INTR: return "signals";
    case KVM_EXIT_DEBUG: return "debug stops";
    case KVM_EXIT_INTERNAL_ERROR: return "internal errors";
    case KVM_EXIT_IOAPIC_EOI: return "ends of interrupt";
    case KVM_EXIT_SET_TPR: return "task priority writes";
    case KVM_EXIT_SYSTEM_EVENT: return "system events";
    case KVM_EXIT_DIRTY_RING_FULL: return "full dirty rings";
    default: return nullptr;
  }
}

}  // namespace

Result<std::unique_ptr<KvmAccelerator>> KvmAccelerator::create(std::unique_ptr<KvmApi> api,
                                                               std::unique_ptr<KvmTarget> target,
                                                               const KvmOptions& options, AccelClient& client) {
  KvmDevice device = EMU_TRY(KvmDevice::open(*api));
  KvmFd vm = EMU_TRY(device.create_vm());
  std::unique_ptr<KvmAccelerator> made(
      new KvmAccelerator(std::move(api), std::move(device), std::move(vm), std::move(target), client));
  EMU_TRY(made->target_->set_up(made->device_, made->vm_, options));
  made->target_->use(*made->writes_);
  made->shared_.hardware_points = made->target_->hardware_points();
  if (options.dirty_ring_entries != 0) EMU_TRY(made->set_up_ring(options.dirty_ring_entries));
  install_kick_signal();
  return made;
}

KvmAccelerator::KvmAccelerator(std::unique_ptr<KvmApi> api, KvmDevice device, KvmFd vm,
                               std::unique_ptr<KvmTarget> target, AccelClient& client)
    : api_(std::move(api)), device_(std::move(device)), vm_(std::move(vm)), vm_statistics_(vm_),
      target_(std::move(target)),
      shared_{.client = client, .run = {}, .points = {}}, writes_(std::make_unique<KvmDeviceWrites>(device_, vm_)) {
  const unsigned offered = unsigned(device_.extension(KVM_CAP_NR_MEMSLOTS));
  slots_ = std::make_unique<SlotTable>(vm_, std::min(std::max(offered, kLeastSlots), kMostSlots),
                                       [this](const std::function<void()>& work) { outside_of_kernel(work); });
  shared_.slots = slots_.get();
  shared_.writes = writes_.get();
}

/// Before there are vCPUs. The kernel says how many bytes a ring may have.
Result<void> KvmAccelerator::set_up_ring(u32 entries) {
  const u64 most = u64(device_.extension(KVM_CAP_DIRTY_LOG_RING)) / sizeof(kvm_dirty_gfn);
  if (most == 0) {
    return error(
        Error("this host's KVM has no dirty ring").with_hint("leave dirty-ring-size out: bitmaps do the same"));
  }
  if (entries > most) return error("dirty-ring-size={}: this host's KVM has at most {}", entries, most);
  kvm_enable_cap enable{};
  enable.cap = KVM_CAP_DIRTY_LOG_RING;
  enable.args[0] = entries * sizeof(kvm_dirty_gfn);
  EMU_TRY(vm_.require("KVM_CAP_DIRTY_LOG_RING", KVM_ENABLE_CAP, &enable));
  shared_.ring_entries = entries;
  return {};
}

KvmAccelerator::~KvmAccelerator() {
  shut_down();
  if (memory_ == nullptr) return;
  const mem::MachineLockScope lock(memory_->memory().lock());
  writes_->detach();
  memory_->remove_listener(*slots_);
  memory_->memory().remove_ram_listener(*slots_);
}

Result<void> KvmAccelerator::add_vcpu(target::Vcpu& cpu, mem::AddressSpace& memory, mem::AddressSpace* ports) {
  const u64 id = cpu.index();
  const int made = vm_.call(KVM_CREATE_VCPU, id);
  if (made < 0) return error("KVM makes no vCPU {}: {}", id, std::strerror(-made));
  vcpus_.add(EMU_TRY(KvmVcpu::create(shared_, device_, KvmFd(*api_, made), *target_, cpu, memory, ports)));
  if (memory_ != nullptr) return {};
  memory_ = &memory;
  {
    const mem::MachineLockScope lock(memory.memory().lock());
    memory.memory().add_ram_listener(*slots_);
    memory.add_listener(*slots_);
    const std::span<u8> area = vcpus_[0].run_area();
    writes_->attach(memory, ports, area.data(), area.size());
  }
  if (!slots_->failure().empty()) return error("{}", slots_->failure());
  return {};
}

// --- Running and standing still ---

void KvmAccelerator::resume_all() {
  start();
  if (shared_.run.is_still()) place_breakpoints();
  if (std::exchange(clocks_stopped_, false)) target_->resumed();
  shared_.run.set_stop(false);
}

void KvmAccelerator::request_pause_all() {
  shared_.run.set_stop(true);
  vcpus_.kick_all();
}

mem::MachineLock* KvmAccelerator::machine_lock() const {
  return memory_ == nullptr ? nullptr : &memory_->memory().lock();
}

void KvmAccelerator::pause_all() {
  request_pause_all();
  vcpus_.wait_until_still(machine_lock());
  remove_breakpoints();
  if (std::exchange(clocks_stopped_, true)) return;
  target_->stopped();
  for (auto& v : vcpus_) v->time_was_lost();
}

void KvmAccelerator::run_exclusive(const std::function<void()>& work) {
  const bool was_running = !shared_.run.should_stop();
  pause_all();
  work();
  if (was_running) resume_all();
}

/// Called with the machine lock held, so it waits for nobody who may want that: only for vCPUs to come out of KVM_RUN.
void KvmAccelerator::outside_of_kernel(const std::function<void()>& work) {
  const std::lock_guard one_at_a_time(outside_mutex_);
  shared_.slots_change.store(true, std::memory_order_seq_cst);
  for (auto& v : vcpus_) {
    while (v->is_in_kernel()) {
      v->expel();
      ::sched_yield();
    }
  }
  work();
  shared_.slots_change.store(false, std::memory_order_seq_cst);
  shared_.slots_change.notify_all();
}

// --- Debugger ---

Result<void> KvmAccelerator::set_debug_points(DebugPoints points) {
  EMU_CHECK(shared_.run.is_still());
  remove_breakpoints();
  if (!points.watchpoints.empty() && points.watchpoints.size() > shared_.hardware_points) {
    if (shared_.hardware_points == 0) return error("this host's KVM has no watchpoints");
    return error("the host's processor has only {} watchpoints", shared_.hardware_points);
  }
  for (const Watchpoint& point : points.watchpoints) {
    if (point.bytes == 0 || point.bytes > 8 || (point.bytes & (point.bytes - 1)) != 0 ||
        point.address % point.bytes != 0) {
      return error("the host's processor watches 1, 2, 4 or 8 aligned bytes, not {} at {:#x}", point.bytes,
                   point.address);
    }
    if (point.kind == WatchKind::Read) return error("the host's processor has no watchpoints for reads alone");
  }
  shared_.points = std::move(points);
  return {};
}

void KvmAccelerator::set_debug_run(unsigned vcpu, DebugRun run, StepEvents events) {
  EMU_CHECK(shared_.run.is_still());
  if (vcpu < vcpus_.size()) vcpus_[vcpu].set_debug_run(run, events);
}

/// Not where a vCPU is to step: that instruction is to be executed.
void KvmAccelerator::place_breakpoints() {
  if (!patches_.empty()) return;
  for (const u64 address : shared_.points.breakpoints) {
    bool stepped = false;
    std::optional<u64> physical;
    for (auto& v : vcpus_) {
      stepped |= v->debug_run() == DebugRun::Step && v->cpu().debug_pc() == address;
      if (!physical) physical = v->cpu().debug_translate(address);
    }
    if (stepped || !physical) continue;
    const std::span<const u8> trap = vcpus_[0].breakpoint_instruction();
    Patch patch{*physical, std::vector<u8>(trap.size())};
    if (memory_->read(patch.physical, patch.before, debugger()) != mem::MemTxResult::Ok) continue;
    if (memory_->write(patch.physical, trap, debugger()) == mem::MemTxResult::Ok) patches_.push_back(std::move(patch));
  }
}

/// In reverse, in case two lie over one another.
void KvmAccelerator::remove_breakpoints() {
  for (; !patches_.empty(); patches_.pop_back()) {
    static_cast<void>(memory_->write(patches_.back().physical, patches_.back().before, debugger()));
  }
}

// --- For people ---

std::string KvmAccelerator::statistics() const {
  std::string out = fmt::format("memory slots {}\ndoorbells {}\ncoalesced regions {}\n", slots_->slots().size(),
                                writes_->doorbells(), writes_->coalesced());
  const auto add_kernels = [&out](const KernelStatistics& of) {
    for (const auto& [name, value] : of.read()) {
      if (value != 0) out += fmt::format("  {:<28} {}\n", "kernel " + name, value);
    }
  };
  add_kernels(vm_statistics_);
  for (const auto& v : vcpus_) {
    out += fmt::format("vCPU {}\n", v->cpu().index());
    const KvmStatistics& counted = v->statistics();
    u64 all = 0;
    for (unsigned reason = 0; reason < KvmStatistics::kReasons; ++reason) {
      const u64 count = counted.exits[reason].load(std::memory_order_relaxed);
      all += count;
      if (count == 0) continue;
      const char* name = exit_name(reason);
      out += fmt::format("  {:<28} {}\n", name != nullptr ? name : fmt::format("exits of kind {}", reason), count);
    }
    out += fmt::format("  {:<28} {}\n", "exits", all);
    out += fmt::format("  {:<28} {}\n", "calls back by others", counted.kicked.load(std::memory_order_relaxed));
    out += fmt::format("  {:<28} {}\n", "sleeps", counted.sleeps.load(std::memory_order_relaxed));
    add_kernels(v->kernel_statistics());
  }
  return out;
}

std::string KvmAccelerator::dump_tlb(unsigned) const { return "the host's processor has the translations\n"; }

}  // namespace emu::accel
