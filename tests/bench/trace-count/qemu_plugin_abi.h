// SPDX-License-Identifier: Apache-2.0
// The part of the reference emulator's documented plugin interface (version 1) that this tool uses.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

using qemu_plugin_id_t = std::uint64_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

struct qemu_info_t {
  const char* target_name;
  struct {
    int min;
    int cur;
  } version;
  bool system_emulation;
  struct {
    int smp_vcpus;
    int max_vcpus;
  } system;
};

enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_CB_R_REGS, QEMU_PLUGIN_CB_RW_REGS };
enum qemu_plugin_mem_rw { QEMU_PLUGIN_MEM_R = 1, QEMU_PLUGIN_MEM_W, QEMU_PLUGIN_MEM_RW };
using qemu_plugin_meminfo_t = std::uint32_t;

using TranslateCallback = void (*)(qemu_plugin_id_t, qemu_plugin_tb*);
using ExecuteCallback = void (*)(unsigned vcpu, void* user);
using MemoryCallback = void (*)(unsigned vcpu, qemu_plugin_meminfo_t, std::uint64_t vaddr, void* user);
using AtExitCallback = void (*)(qemu_plugin_id_t, void* user);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, TranslateCallback);
void qemu_plugin_register_vcpu_tb_exec_cb(qemu_plugin_tb*, ExecuteCallback, qemu_plugin_cb_flags, void* user);
void qemu_plugin_register_vcpu_mem_cb(qemu_plugin_insn*, MemoryCallback, qemu_plugin_cb_flags, qemu_plugin_mem_rw,
                                      void* user);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, AtExitCallback, void* user);
std::size_t qemu_plugin_tb_n_insns(const qemu_plugin_tb*);
qemu_plugin_insn* qemu_plugin_tb_get_insn(const qemu_plugin_tb*, std::size_t index);
const void* qemu_plugin_insn_data(const qemu_plugin_insn*);
std::size_t qemu_plugin_insn_size(const qemu_plugin_insn*);
std::uint64_t qemu_plugin_insn_vaddr(const qemu_plugin_insn*);
void* qemu_plugin_insn_haddr(const qemu_plugin_insn*);
bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t);
}
