// SPDX-License-Identifier: Apache-2.0
#include "accel/tcg/tcg_accelerator.h"

#include <sys/prctl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

#include "util/check.h"

namespace emu::accel {

Result<std::unique_ptr<TcgAccelerator>> TcgAccelerator::create(const AccelOptions& options, AccelClient& client,
                                                               std::unique_ptr<ir::HostBackend> backend) {
  std::unique_ptr<TcgAccelerator> accel(new TcgAccelerator(options, client));
  accel->shared_.techniques = EMU_TRY(parse_techniques(options.without));
  if (!accel->shared_.techniques.huge_pages) EMU_TRY(accel->refuse_huge_pages());
  if (options.icount.enabled) {
    accel->shared_.icount = std::make_unique<Icount>(options.icount, client, accel->shared_.run.stop_flag());
    accel->shared_.stop_vcpus = [raw = accel.get()] { raw->stop_vcpus(); };
    // Otherwise the host's time moves the guest's.
    if (!options.icount.adaptive && !options.icount.align) accel->rewind_.emplace(accel->shared_, accel->vcpus_);
  }
  if (options.perf_map) EMU_TRY(accel->shared_.perf.open_map());
  if (options.jit_dump) EMU_TRY(accel->shared_.perf.open_dump());
  if (backend) {
    accel->shared_.backend = std::move(backend);
    const CodeCache::Parts parts =
        accel->shared_.techniques.segments ? CodeCache::Parts::Segments : CodeCache::Parts::One;
    accel->shared_.code = EMU_TRY(CodeCache::create(options.code_cache_bytes, options.split_wx, parts));
  }
  return accel;
}

/// For the whole process, whatever is asked for elsewhere. RAM is touched after the accelerator is made.
Result<void> TcgAccelerator::refuse_huge_pages() {
  if (prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1) return {};
  if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0) return error("without=huge-pages: {}", std::strerror(errno));
  refused_huge_pages_ = true;
  return {};
}

TcgAccelerator::~TcgAccelerator() {
  shut_down();
  if (refused_huge_pages_) prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
  if (shared_.memory == nullptr) return;
  const mem::MachineLockScope lock(shared_.memory->lock());
  for (mem::AddressSpace* space : spaces_) space->remove_listener(*this);
  shared_.memory->remove_ram_listener(*this);
}

/// What needs the guest's state layout and memory: once, with the first vCPU.
Result<void> TcgAccelerator::prepare(target::Vcpu& first, mem::Memory& memory) {
  shared_.memory = &memory;
  shared_.translator = &first.translator();
  shared_.blocks = std::make_unique<BlockCache>(memory, shared_.quiescence, *this);
  shared_.blocks->judge_by_granules(shared_.techniques.granules);
  shared_.blocks->keep_dead_blocks(shared_.techniques.graveyard);
  shared_.blocks->check_pages(shared_.techniques.checked_pages);
  memory.add_ram_listener(*this);
  if (!shared_.backend) return {};
  const ir::StateLayout& layout = shared_.translator->layout();
  EMU_TRY(shared_.backend->configure(layout));
  const tcg::RuntimeCallbacks callbacks{.slow_access = &tcg::RuntimeVcpu::slow_access,
                                        .helper_left = &tcg::RuntimeVcpu::helper_left,
                                        .indirect_miss = &tcg::RuntimeVcpu::indirect_miss,
                                        .link_miss = &tcg::RuntimeVcpu::link_miss,
                                        .exit_request = &tcg::RuntimeVcpu::exit_request,
                                        .trap = &tcg::RuntimeVcpu::trap,
                                        .exit = &tcg::RuntimeVcpu::exit,
                                        .mode_miss = &tcg::RuntimeVcpu::mode_miss};
  size_t used = 0;
  shared_.thunks = EMU_TRY(shared_.backend->emit_thunks(shared_.code->thunk_room(), layout, callbacks, used));
  if (!shared_.techniques.refill) shared_.thunks.leave_refills_to_cpp();
  if (!shared_.techniques.quick_helpers) shared_.thunks.quick_helper = shared_.thunks.quick_helper_full;
  shared_.blocks->use_code(*shared_.backend, *shared_.code);
  if (shared_.techniques.clones) shared_.blocks->keep_places();
  return {};
}

Result<void> TcgAccelerator::add_vcpu(target::Vcpu& cpu, mem::AddressSpace& memory, mem::AddressSpace* ports) {
  if (vcpus_.empty()) EMU_TRY(prepare(cpu, memory.memory()));
  if (&cpu.translator().layout() != &shared_.translator->layout()) {
    return error("vCPU {}: a machine has one instruction set", cpu.index());
  }
  vcpus_.add(std::make_unique<tcg::RuntimeVcpu>(shared_, cpu, memory, ports));
  shared_.has_one_vcpu = vcpus_.size() == 1;
  shared_.overcommitted = vcpus_.size() > std::thread::hardware_concurrency();
  EMU_CHECK(shared_.icount == nullptr || cpu.index() + 1 == vcpus_.size());
  if (shared_.icount != nullptr) shared_.icount->add(vcpus_[cpu.index()], cpu.env());
  if (std::find(spaces_.begin(), spaces_.end(), &memory) == spaces_.end()) {
    spaces_.push_back(&memory);
    const mem::MachineLockScope lock(memory.memory().lock());
    memory.add_listener(*this);
  }
  return {};
}

// --- Running and standing still ---

void TcgAccelerator::resume_all() {
  start();
  if (shared_.icount != nullptr) shared_.icount->resumed();
  shared_.run.set_stop(false);
}

void TcgAccelerator::request_pause_all() {
  if (shared_.icount != nullptr) shared_.icount->paused();
  stop_vcpus();
}

void TcgAccelerator::stop_vcpus() {
  shared_.run.set_stop(true);
  vcpus_.kick_all();
}

mem::MachineLock* TcgAccelerator::machine_lock() const {
  return shared_.memory == nullptr ? nullptr : &shared_.memory->lock();
}

void TcgAccelerator::pause_all() {
  request_pause_all();
  vcpus_.wait_until_still(machine_lock());
}

void TcgAccelerator::run_exclusive(const std::function<void()>& work) {
  const bool was_running = !shared_.run.should_stop();
  pause_all();
  work();
  if (was_running) resume_all();
}

// --- Debugger ---

Result<void> TcgAccelerator::set_debug_points(DebugPoints points) {
  shared_.replace_debug_points(std::move(points));
  return {};
}

void TcgAccelerator::set_debug_run(unsigned vcpu, DebugRun run, StepEvents events) {
  EMU_CHECK(shared_.run.is_still());
  if (vcpu < vcpus_.size()) vcpus_[vcpu].set_debug_run(run, events);
}

// --- What memory tells ---

void TcgAccelerator::commit() { request_others({TlbRequest::Kind::Everything}, nullptr); }

void TcgAccelerator::code_page_written(mem::RamPage page, u32 offset, u32 length) {
  shared_.blocks->invalidate(page, offset, length);
}

void TcgAccelerator::write_tracking_restarted(mem::RamPage first, u64 count) {
  const mem::RamRef ram = shared_.memory->ram_block_of(first);
  if (ram != nullptr) request_others({TlbRequest::Kind::DropWrite, ram, ram->offset_of(first), count}, nullptr);
}

void TcgAccelerator::request_others(const TlbRequest& request, const Quiescence::Participant* except) {
  for (auto& v : vcpus_) {
    if (&v->participant() != except) v->request(request);
  }
}

// --- For people ---

std::string TcgAccelerator::statistics() const {
  std::string out;
  if (shared_.icount != nullptr) out += shared_.icount->describe();
  out += "translation cache\n";
  if (shared_.blocks) out += describe(shared_.blocks->statistics());
  if (shared_.code) out += fmt::format("  {:<28} {}\n", "code memory in use", shared_.code->bytes_used());
  out += fmt::format("  {:<28} {}\n", "process in huge pages", huge_page_bytes());
  for (const auto& v : vcpus_) {
    out += fmt::format("vCPU {}\n", v->cpu().index());
    out += describe(v->statistics());
    const tcg::EnvHeader& env = v->cpu().env();
    const std::pair<const char*, u64> counts[] = {
        {"L1 fills by thunks", v->statistics().l2_refills.get() + env.l2_refills},
        {"direct kernel entries, exits", env.direct_entries},
        {"jumps by way of victims", env.victim_jumps},
        {"strings copied at once", env.string_runs},
        {"executed instructions", env.executed_insns},
        {"executed blocks", env.executed_blocks},
        {"executed basic blocks", env.executed_basic_blocks},
        {"executed host instructions", env.executed_host_insns},
        {"executed host bytes", env.executed_host_bytes},
        {"executed blocks' stub bytes", env.stub_bytes},
        {"executed helper calls", env.executed_calls},
        {"executed indirect jumps", env.executed_jumps}};
    for (const auto& [name, count] : counts) {
      if (count != 0) out += fmt::format("  {:<28} {}\n", name, count);
    }
    out += describe_ratios(v->statistics());
  }
  return out;
}

std::string TcgAccelerator::dump_tlb(unsigned vcpu) const {
  return vcpu < vcpus_.size() ? vcpus_[vcpu].dump_tlb() : std::string();
}

}  // namespace emu::accel
