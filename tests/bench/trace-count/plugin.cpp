// SPDX-License-Identifier: Apache-2.0
// Feeds the model from the reference emulator's plugin interface: arguments out=FILE,control=FIFO.
// Each line read from the control pipe ends the phase of that name; FILE receives one JSON object per phase and vCPU.
#include <atomic>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "model.h"
#include "qemu_plugin_abi.h"

#define EXPORTED __attribute__((visibility("default")))

extern "C" {
EXPORTED int qemu_plugin_version = 1;
}

namespace trace {
namespace {

constexpr unsigned kMaxVcpus = 8;

struct Session {
  std::unique_ptr<Model> models[kMaxVcpus];
  unsigned phases_done[kMaxVcpus] = {};
  std::mutex lock;                  // guards `phases`, `out`, the mode guess and the blocks
  std::vector<std::string> phases;  // names of those that have ended
  std::atomic<unsigned> phase_count = 0;
  std::vector<std::unique_ptr<TracedBlock>> blocks;
  Mode mode = Mode::k16;
  bool kernel_reached = false;  // vCPU 0 only
  Decoder decoder;
  std::ofstream out;
};

Session* session = nullptr;  // the plugin interface passes no user pointer to its translation callback

/// The emulator does not say in which mode it decoded, but the lengths of its instructions do. Where more than one
/// mode fits, the last one seen goes on.
Mode guess_mode(const TracedBlock& block) {
  const auto fits = [&](Mode mode) {
    for (const auto& step : block.steps) {
      Insn insn;
      if (!session->decoder.decode({step.bytes, step.length}, step.address, mode, insn) || insn.length != step.length)
        return false;
    }
    return true;
  };
  if (is_kernel(block.steps.front().address)) return session->mode = Mode::k64;
  if (session->mode == Mode::k64 || fits(session->mode)) return session->mode;
  for (Mode mode : {Mode::k64, Mode::k32, Mode::k16})
    if (fits(mode)) return session->mode = mode;
  return session->mode;
}

void end_phases(unsigned vcpu) {
  const std::scoped_lock guard(session->lock);
  while (session->phases_done[vcpu] < session->phases.size())
    session->out << session->models[vcpu]->finish_phase(session->phases[session->phases_done[vcpu]++]) << std::endl;
}

void add_phase(const std::string& name) {
  const std::scoped_lock guard(session->lock);
  session->phases.push_back(name);
  session->phase_count = unsigned(session->phases.size());
}

void on_execute(unsigned vcpu, void* user) {
  if (vcpu >= kMaxVcpus) return;
  const auto* block = static_cast<const TracedBlock*>(user);
  if (vcpu == 0 && !session->kernel_reached && is_kernel(block->steps.front().address)) {
    session->kernel_reached = true;
    add_phase("firmware and unpacking");
  }
  if (session->phases_done[vcpu] != session->phase_count.load(std::memory_order_relaxed)) end_phases(vcpu);
  session->models[vcpu]->execute(*block);
}

void on_memory(unsigned vcpu, qemu_plugin_meminfo_t info, u64 address, void*) {
  if (vcpu < kMaxVcpus) session->models[vcpu]->access(address, qemu_plugin_mem_is_store(info));
}

void on_translate(qemu_plugin_id_t, qemu_plugin_tb* tb) {
  auto block = std::make_unique<TracedBlock>();
  for (std::size_t i = 0; i < qemu_plugin_tb_n_insns(tb); ++i) {
    qemu_plugin_insn* insn = qemu_plugin_tb_get_insn(tb, i);
    TracedBlock::Step step{};
    step.address = qemu_plugin_insn_vaddr(insn);
    step.ram = reinterpret_cast<u64>(qemu_plugin_insn_haddr(insn));
    step.length = u8(std::min<std::size_t>(qemu_plugin_insn_size(insn), sizeof step.bytes));
    std::memcpy(step.bytes, qemu_plugin_insn_data(insn), step.length);
    block->steps.push_back(step);
    qemu_plugin_register_vcpu_mem_cb(insn, on_memory, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW, nullptr);
  }
  if (block->steps.empty()) return;
  const std::scoped_lock guard(session->lock);
  block->mode = guess_mode(*block);
  qemu_plugin_register_vcpu_tb_exec_cb(tb, on_execute, QEMU_PLUGIN_CB_NO_REGS, block.get());
  session->blocks.push_back(std::move(block));
}

void on_exit(qemu_plugin_id_t, void*) {
  const std::scoped_lock guard(session->lock);
  session->out.flush();
}

void read_phases(const std::string& path) {
  std::ifstream control(path);
  for (std::string name; std::getline(control, name);) add_phase(name);
}

}  // namespace
}  // namespace trace

extern "C" EXPORTED int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t*, int argc, char** argv) {
  using namespace trace;
  session = new Session;  // lives as long as the emulator
  for (unsigned i = 0; i < kMaxVcpus; ++i) session->models[i] = std::make_unique<Model>(int(i));
  for (int i = 0; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument.starts_with("out=")) session->out.open(argument.substr(4));
    if (argument.starts_with("control=")) std::thread(read_phases, argument.substr(8)).detach();
  }
  if (!session->out) {
    std::fprintf(stderr, "trace-count: cannot write the file named by out=\n");
    return 1;
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
  qemu_plugin_register_atexit_cb(id, on_exit, nullptr);
  return 0;
}
