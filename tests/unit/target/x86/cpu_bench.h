// SPDX-License-Identifier: Apache-2.0
// An X86Cpu with 4 MiB of flat memory that is reached through its own page walks, and nothing else.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <map>
#include <vector>

#include "target/x86/cpu.h"
#include "target/x86/eflags.h"

namespace emu::x86 {

struct NoTranslator final : target::Translator {
  ir::StateLayout no_layout;
  ir::HelperTable no_helpers;
  const ir::StateLayout& layout() const override { return no_layout; }
  const ir::HelperTable& helpers() const override { return no_helpers; }
  target::TranslateResult translate(const target::TranslateRequest&, target::GuestCode&, ir::Builder&) override {
    return {};
  }
  std::string disassemble(std::span<const u8>, u64, u32) const override { return {}; }
};

struct FakeMemory final : target::GuestAccess {
  using Status = target::AccessStatus;
  std::vector<u8> ram = std::vector<u8>(4 << 20);
  target::Vcpu* cpu = nullptr;
  std::map<u16, u32> ports;
  std::vector<std::pair<u16, u32>> port_writes;
  bool offers_runs = true;
  u64 run_bytes = 0;
  int lost_updates = 0;  ///< so many page-table updates find the entry changed

  Status translate(u64 va, target::Access access, u8 view, u64& pa) {
    target::TlbFill fill;
    if (!cpu->walk(va, access, view, fill)) {
      cpu->env().leave = tcg::kLeaveAtInsn;
      return Status::Fault;
    }
    pa = fill.physical | (va & 4095);
    return Status::Ok;
  }
  Status touch(u64 va, u64 bytes, target::Access access, u8 view) {
    u64 pa = 0;
    for (u64 at = va; at < va + bytes; at = (at | 4095) + 1) {
      if (translate(at, access, view, pa) == Status::Fault) return Status::Fault;
    }
    return Status::Ok;
  }
  Status load_bytes(u64 va, std::span<u8> data, u8 view) override {
    if (touch(va, data.size(), target::Access::Load, view) == Status::Fault) return Status::Fault;
    for (size_t i = 0; i < data.size(); ++i) {
      u64 pa = 0;
      translate(va + i, target::Access::Load, view, pa);
      data[i] = pa < ram.size() ? ram[pa] : 0xff;
    }
    return Status::Ok;
  }
  Status store_bytes(u64 va, std::span<const u8> data, u8 view) override {
    if (touch(va, data.size(), target::Access::Store, view) == Status::Fault) return Status::Fault;
    for (size_t i = 0; i < data.size(); ++i) {
      u64 pa = 0;
      translate(va + i, target::Access::Store, view, pa);
      if (pa < ram.size()) ram[pa] = data[i];
    }
    return Status::Ok;
  }
  Status load(u64 va, unsigned bytes, u8 view, u64& value) override {
    u8 data[8] = {};
    if (load_bytes(va, std::span(data, bytes), view) == Status::Fault) return Status::Fault;
    std::memcpy(&value, data, 8);
    return Status::Ok;
  }
  Status store(u64 va, unsigned bytes, u8 view, u64 value) override {
    u8 data[8];
    std::memcpy(data, &value, 8);
    return store_bytes(va, std::span<const u8>(data, bytes), view);
  }
  Status probe(u64 va, unsigned bytes, target::Access access, u8 view) override {
    return touch(va, bytes, access, view);
  }
  Status compare_exchange(u64 va, unsigned bytes, u8 view, u128& expected, u128 desired) override {
    if (touch(va, bytes, target::Access::Store, view) == Status::Fault) return Status::Fault;
    u128 old = 0;
    load_bytes(va, std::span(reinterpret_cast<u8*>(&old), bytes), view);
    if (old == expected) store_bytes(va, std::span(reinterpret_cast<const u8*>(&desired), bytes), view);
    expected = old;
    return Status::Ok;
  }
  u64 copy_run(u64 to, u64 from, u64 bytes, u8 view) override {
    u64 a = 0, b = 0;
    if (!offers_runs || translate(from, target::Access::Load, view, a) == Status::Fault ||
        translate(to, target::Access::Store, view, b) == Status::Fault) {
      cpu->env().leave = tcg::kLeaveNot;
      return 0;
    }
    std::memmove(&ram[b], &ram[a], bytes);
    run_bytes += bytes;
    return bytes;
  }
  u64 fill_run(u64 to, u8 value, u64 bytes, u8 view) override {
    u64 a = 0;
    if (!offers_runs || translate(to, target::Access::Store, view, a) == Status::Fault) return 0;
    std::memset(&ram[a], value, bytes);
    run_bytes += bytes;
    return bytes;
  }
  bool load_physical(u64 pa, unsigned bytes, u64& value) override {
    value = 0;
    if (pa + bytes > ram.size()) return false;
    std::memcpy(&value, &ram[pa], bytes);
    return true;
  }
  bool update_physical(u64 pa, unsigned bytes, u64 expected, u64 desired) override {
    if (lost_updates > 0) {
      --lost_updates;
      return false;
    }
    u64 now = 0;
    if (!load_physical(pa, bytes, now) || now != expected) return false;
    std::memcpy(&ram[pa], &desired, bytes);
    return true;
  }
  u32 port_read(u16 port, unsigned) override { return ports[port]; }
  void port_write(u16 port, unsigned, u32 value) override { port_writes.emplace_back(port, value); }
};

struct FakeServices final : target::CpuServices {
  int kicks = 0, flushes = 0, non_global = 0, pages = 0, mode_changes = 0;
  std::vector<std::pair<u64, bool>> switches;
  u64 now = 1000;
  tcg::EnvHeader* env = nullptr;
  void changed() {
    if (env != nullptr) ++env->flush_generation;
  }
  void kick(u32) override { ++kicks; }
  void leave_block() override {}
  void flush_all() override { ++flushes, changed(); }
  void flush_non_global() override { ++non_global, changed(); }
  void flush_page(u64) override { ++pages, changed(); }
  void flush_context(u64, std::optional<u64>) override { changed(); }
  void switch_context(u64 id, bool keep) override {
    switches.emplace_back(id, keep);
    changed();
  }
  void mode_changed() override { ++mode_changes; }
  u64 ticks() override { return now; }
};

struct FakePort final : target::CpuInterruptPort {
  std::optional<u8> pending;
  u8 tpr = 0;
  std::map<u32, u64> registers;
  std::optional<u8> acknowledge() override { return std::exchange(pending, std::nullopt); }
  u8 task_priority() override { return tpr; }
  void set_task_priority(u8 cr8) override { tpr = cr8; }
  bool read_register(u32 index, u64& value) override {
    if (!registers.count(index)) return false;
    value = registers[index];
    return true;
  }
  bool write_register(u32 index, u64 value) override {
    if (!registers.count(index)) return false;
    registers[index] = value;
    return true;
  }
};

/// Where the bench keeps the guest's tables.
inline constexpr u64 kGdt = 0x1000, kIdt = 0x2000, kTss = 0x3000, kTables = 0x10000, kKernelStack = 0x80000,
                     kHandler = 0x40000;

enum Selector : u16 {
  kKernelCode = 0x08,
  kKernelData = 0x10,
  kUserCode32 = 0x1b,
  kUserData = 0x23,
  kUserCode64 = 0x2b,
  kTssSelector = 0x30,
  kKernelCode64 = 0x40,
  kSpare = 0x48,
  kSpare2 = 0x50,
};

class CpuBench {
 public:
  explicit CpuBench(const char* model = "max", unsigned index = 0) : cpu(make_config(model, index), translator_) {
    memory.cpu = &cpu;
    services.env = &cpu.env();
    cpu.attach(memory, services);
    cpu.set_interrupt_port(&port);
    cpu.reset();
    table_ = make_helper_table();
  }

  static CpuConfig make_config(const char* model, unsigned index) {
    CpuConfig config;
    config.index = index;
    config.model = *parse_cpu_option(model);
    config.topology = {.sockets = 1, .cores = 2, .threads = 1};
    config.apic_id = config.topology.apic_id(index);
    return config;
  }

  X86State& s() { return cpu.state(); }
  tcg::EnvHeader& env() { return cpu.env(); }

  template <typename... Args>
  u64 call(Helper helper, Args... args) {
    const u64 list[6] = {u64(args)...};
    env().leave = tcg::kLeaveNot;
    return table_.helpers[helper].function(env(), list);
  }
  /// The vector that is pending after a helper, or -1.
  int pending_vector() { return cpu.has_pending_fault() ? peek().first : -1; }
  u32 pending_error() { return peek().second; }
  void deliver() { cpu.deliver_pending(); }

  void put(u64 pa, unsigned bytes, u64 value) { std::memcpy(&memory.ram[pa], &value, bytes); }
  u64 get(u64 pa, unsigned bytes) {
    u64 value = 0;
    std::memcpy(&value, &memory.ram[pa], bytes);
    return value;
  }

  void put_descriptor(u16 selector, u32 base, u32 limit, u32 attributes) {
    const u64 at = kGdt + (selector & ~7u);
    const u32 raw = attributes & bit(23) ? limit >> 12 : limit;
    put(at, 4, (raw & 0xffff) | base << 16);
    put(at + 4, 4, (base >> 16 & 0xff) | (base & 0xff000000) | (raw & 0xf0000) | attributes);
  }
  void put_gate32(u8 vector, u16 selector, u32 offset, unsigned type, unsigned dpl) {
    put(kIdt + vector * 8, 4, (offset & 0xffff) | u32(selector) << 16);
    put(kIdt + vector * 8 + 4, 4, (offset & 0xffff0000) | 0x8000 | dpl << 13 | type << 8);
  }
  void put_gate64(u8 vector, u16 selector, u64 offset, unsigned type, unsigned dpl, unsigned ist = 0) {
    put(kIdt + vector * 16, 4, (offset & 0xffff) | u32(selector) << 16);
    put(kIdt + vector * 16 + 4, 4, (offset & 0xffff0000) | 0x8000 | dpl << 13 | type << 8 | ist);
    put(kIdt + vector * 16 + 8, 8, offset >> 32);
  }

  void make_gdt() {
    put_descriptor(kKernelCode, 0, 0xffffffff, 0xc09b00);
    put_descriptor(kKernelData, 0, 0xffffffff, 0xc09300);
    put_descriptor(kUserCode32, 0, 0xffffffff, 0xc0fb00);
    put_descriptor(kUserData, 0, 0xffffffff, 0xc0f300);
    put_descriptor(kUserCode64, 0, 0xffffffff, 0xa0fb00);
    put_descriptor(kKernelCode64, 0, 0xffffffff, 0xa09b00);
    put_descriptor(kTssSelector, kTss, 0x67 + 0x100, 0x008900);
    s().gdt = {kGdt, 0xff};
    s().idt = {kIdt, 0xfff};
  }

  /// Flat 32-bit protected mode at CPL 0, paging off, TR loaded, SS0:ESP0 = kKernelStack.
  void enter_protected() {
    make_gdt();
    call(H_write_cr, 0, kCr0PE | kCr0NE | kCr0ET);
    call(H_far_jump, kKernelCode, 0x8000, 4);
    for (Seg seg : {DS, ES, SS, FS, GS}) call(H_load_segment, seg, kKernelData);
    call(H_load_tr, kTssSelector);
    put(kTss + 4, 4, kKernelStack);
    put(kTss + 8, 2, kKernelData);
    s().gpr(RSP) = 0x7f000;
    write_rflags(s(), 2, kAllFlags);
  }

  /// 64-bit mode at CPL 0; the first 4 MiB are mapped at 0 for user and kernel by 4 KiB pages.
  void enter_long(u64 cr4 = 0, u64 efer = kEferNXE | kEferSCE) {
    enter_protected();
    map_identity();
    call(H_write_cr, 4, kCr4PAE | kCr4PGE | kCr4OSFXSR);
    call(H_write_cr, 3, kTables);
    write_msr(0xc0000080, kEferLME | efer);
    call(H_write_cr, 0, kCr0PE | kCr0NE | kCr0ET | kCr0WP | kCr0PG);
    call(H_far_jump, kKernelCode64, 0x8000, 4);
    call(H_write_cr, 4, kCr4PAE | kCr4PGE | kCr4OSFXSR | cr4);
    put(kTss + 4, 8, kKernelStack);
    put_descriptor(kTssSelector, kTss, 0x67 + 0x100, 0x008900);
    put(kGdt + kTssSelector + 8, 8, 0);
    call(H_load_tr, kTssSelector);
    EXPECT_TRUE(cpu.is_code64());
    EXPECT_FALSE(cpu.has_pending_fault());
  }
  static u64 pte_address(u64 va) { return kTables + 0x3000 + (va >> 12) * 8; }
  void map_identity() {
    put(kTables, 8, (kTables + 0x1000) | 7);
    put(kTables + 0x1000, 8, (kTables + 0x2000) | 7);
    for (u64 i = 0; i < 2; ++i) put(kTables + 0x2000 + i * 8, 8, (kTables + 0x3000 + i * 0x1000) | 7);
    for (u64 page = 0; page < 1024; ++page) put(kTables + 0x3000 + page * 8, 8, page << 12 | 7);
  }
  /// From long mode at CPL 0 to user mode.
  void go_user64(u64 rip = 0x100000, u64 rsp = 0x1ff000, u64 flags = kIF) {
    u64 sp = 0x70000;
    for (u64 value : {u64(kUserData), rsp, flags | 2, u64(kUserCode64), rip}) put(sp -= 8, 8, value);
    s().gpr(RSP) = sp;
    call(H_iret, 8, 0);
    EXPECT_EQ(s().cpl(), 3u);
  }
  void write_msr(u32 index, u64 value) {
    s().gpr(RCX) = index;
    s().gpr(RAX) = u32(value);
    s().gpr(RDX) = value >> 32;
    call(H_wrmsr);
  }
  u64 read_msr(u32 index) {
    s().gpr(RCX) = index;
    call(H_rdmsr);
    return s().gpr(RDX) << 32 | u32(s().gpr(RAX));
  }

 private:
  NoTranslator translator_;
  ir::HelperTable table_;
  std::pair<int, u32> peek();

 public:
  FakeMemory memory;
  FakeServices services;
  FakePort port;
  X86Cpu cpu;
};

struct CpuTestAccess {
  static std::pair<int, u32> pending(const X86Cpu& cpu) { return {cpu.pending_.vector, cpu.pending_.error}; }
  static u64 pending_address(const X86Cpu& cpu) { return cpu.pending_.address; }
  static void drop(X86Cpu& cpu) { cpu.pending_ = {}; }
};
inline std::pair<int, u32> CpuBench::peek() { return CpuTestAccess::pending(cpu); }

}  // namespace emu::x86
