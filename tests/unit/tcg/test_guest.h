// SPDX-License-Identifier: Apache-2.0
// A made-up guest for tests of IR, passes and back ends: pinned and unpinned registers of every type, helpers of every
// kind, and a page of memory between unmapped ones.
#pragma once

#include <cstring>
#include <functional>

#include "tcg/abi/env.h"
#include "tcg/interp/interpreter.h"
#include "tcg/ir/helper.h"
#include "tcg/ir/op.h"

namespace emu::test {

struct GuestState {
  tcg::EnvHeader hdr;  ///< hot[0..3] = r8..r11
  u64 regs[8] = {};    ///< r0..r7, pinned
  struct alignas(64) Slot {
    u8 bytes[64] = {};
  } vec[6];  ///< x0..x3 pinned, x4 x5 not
  u64 b0 = 0, w0 = 0, d0 = 0, d1 = 0, q0 = 0;
  u64 helper_calls = 0;  ///< counts, so that a lost or doubled call shows
};

enum GuestField : ir::FieldId { kR0 = 0, kX0 = 12, kB0 = 18, kW0, kD0, kD1, kQ0, kGuestFields };

inline ir::StateLayout guest_layout() {
  ir::StateLayout layout;
  const auto add = [&](std::string name, size_t offset, ir::Type type, ir::Pin pin) {
    layout.fields.push_back({std::move(name), u32(offset), type, pin});
  };
  for (unsigned i = 0; i < 12; ++i) {
    const ir::Pin pin = i == 0   ? ir::Pin::MulLow
                        : i == 1 ? ir::Pin::MulHigh
                        : i == 2 ? ir::Pin::ShiftCount
                        : i < 8  ? ir::Pin::General
                                 : ir::Pin::None;
    const size_t offset = i < 8 ? offsetof(GuestState, regs) + 8 * i : offsetof(tcg::EnvHeader, hot) + 8 * (i - 8);
    add("r" + std::to_string(i), offset, ir::Type::I64, pin);
  }
  for (unsigned i = 0; i < 6; ++i) {
    add("x" + std::to_string(i), offsetof(GuestState, vec) + 64 * i, ir::Type::V256,
        i < 4 ? ir::Pin::Vector : ir::Pin::None);
  }
  add("b0", offsetof(GuestState, b0), ir::Type::I8, ir::Pin::None);
  add("w0", offsetof(GuestState, w0), ir::Type::I16, ir::Pin::None);
  add("d0", offsetof(GuestState, d0), ir::Type::I32, ir::Pin::None);
  add("d1", offsetof(GuestState, d1), ir::Type::I32, ir::Pin::None);
  add("q0", offsetof(GuestState, q0), ir::Type::I64, ir::Pin::None);
  for (ir::StateField& field : layout.fields) field.deferred = field.name == "r11" || field.name == "d1";
  layout.size = sizeof(GuestState);
  return layout;
}

inline GuestState& guest(tcg::EnvHeader& env) { return reinterpret_cast<GuestState&>(env); }

enum GuestHelper : u32 {
  kPureHelper,
  kLeafHelper,
  kReadHelper,
  kWriteHelper,
  kFaultHelper,
  kLeaveHelper,
  kQuickHelper,
  kGeneralHelper
};

__attribute__((target("general-regs-only"))) inline u64 stir(tcg::EnvHeader& env, const u64* a) {
  guest(env).regs[0] += a[0];
  guest(env).regs[6] ^= env.hot[2];
  env.hot[3] += guest(env).regs[2];
  env.cc_op = 0;
  env.cc_a = a[0] & tcg::kFlagsAll;
  return a[0] * 3;
}
__attribute__((target("general-regs-only"))) inline bool quick_stir(tcg::EnvHeader& env, const u64* a) {
  if (a[0] & 1) return false;
  env.helper_result = stir(env, a);
  return true;
}
__attribute__((target("general-regs-only"))) inline u64 turn(tcg::EnvHeader&, const u64* a) {
  return a[0] << 9 ^ a[1] >> 3;
}

inline ir::HelperTable guest_helpers() {
  ir::HelperTable table;
  table.add({"mix", [](tcg::EnvHeader&, const u64* a) { return (a[0] ^ a[1] >> 7) * 0x9e3779b97f4a7c15u; },
             ir::kHelperPure, 2});
  table.add({"count", [](tcg::EnvHeader& env, const u64* a) { return guest(env).helper_calls += a[0] & 15; },
             ir::kHelperLeaf, 1});
  table.add({"digest",
             [](tcg::EnvHeader& env, const u64* a) {
               u64 sum = tcg::pack_flags(env.cc_op, env.cc_a, env.cc_b) + a[0];
               for (unsigned i = 0; i < 8; ++i) sum = sum * 31 + guest(env).regs[i];
               for (unsigned i = 0; i < 4; ++i) sum = sum * 31 + env.hot[i] + guest(env).vec[i].bytes[3];
               return sum + env.pc;
             },
             ir::kHelperReadsState, 1});
  table.add({"scramble",
             [](tcg::EnvHeader& env, const u64* a) {
               guest(env).regs[3] += a[0];
               env.hot[1] ^= a[1];
               guest(env).vec[2].bytes[5] ^= u8(a[0]);
               env.cc_op = 0;
               env.cc_a = a[1] & tcg::kFlagsAll;
               return guest(env).regs[1];
             },
             ir::kHelperReadsState | ir::kHelperWritesState, 2});
  table.add({"may_fault",
             [](tcg::EnvHeader& env, const u64* a) {
               if ((a[0] & 7) == 3) env.leave = tcg::kLeaveAtInsn;
               return a[0] + 1;
             },
             ir::kHelperReadsState | ir::kHelperMayFault, 1});
  table.add({"may_leave",
             [](tcg::EnvHeader& env, const u64* a) {
               if ((a[0] & 3) == 1) {
                 env.pc = a[0];
                 guest(env).regs[5] = a[0];
                 env.leave = tcg::kLeaveTransferred;
               }
               return a[0];
             },
             ir::kHelperReadsState | ir::kHelperWritesState | ir::kHelperMayFault, 1});
  static constexpr tcg::QuickHelper kStir{quick_stir, stir};
  table.add({"stir", stir, ir::kHelperReadsState | ir::kHelperWritesState, 1, nullptr, nullptr, &kStir});
  table.add({"turn", turn, ir::kHelperPure, 2, nullptr, nullptr, nullptr, turn});
  return table;
}

inline constexpr u64 kGuestPage = 0x40000000;                  ///< readable and writable
inline constexpr u64 kReadOnlyPage = kGuestPage + 2 * 0x1000;  ///< stores fault; the pages around both fault always

/// The guest's memory, for the interpreter.
class GuestMemory final : public ir::InterpreterMemory {
 public:
  u8 page[0x1000] = {};
  u8 read_only[0x1000] = {};
  u64 fault_address = 0;  ///< of the last fault

  bool load(u64 address, const ir::MemInfo& mem, u8* data) override {
    const u8* p = find(address, mem, false);
    if (p) std::memcpy(data, p, size_t(1) << mem.log2_bytes);
    return p;
  }
  bool store(u64 address, const ir::MemInfo& mem, const u8* data) override {
    u8* p = find(address, mem, true);
    if (p) std::memcpy(p, data, size_t(1) << mem.log2_bytes);
    return p;
  }
  bool probe(u64 address, const ir::MemInfo& mem) override { return find(address, mem, true); }
  bool rmw(ir::RmwOp op, u64 address, const ir::MemInfo& mem, u64 operand, u64& old_value) override {
    u8* p = find(address, mem, true);
    if (!p) return false;
    old_value = 0;
    std::memcpy(&old_value, p, size_t(1) << mem.log2_bytes);
    u64 v = operand;
    switch (op) {
      case ir::RmwOp::Add:
        v = old_value + operand;
        break;
      case ir::RmwOp::Sub:
        v = old_value - operand;
        break;
      case ir::RmwOp::And:
        v = old_value & operand;
        break;
      case ir::RmwOp::Or:
        v = old_value | operand;
        break;
      case ir::RmwOp::Xor:
        v = old_value ^ operand;
        break;
      case ir::RmwOp::Xchg:
        break;
    }
    std::memcpy(p, &v, size_t(1) << mem.log2_bytes);
    return true;
  }
  bool cas(u64 address, const ir::MemInfo& mem, u64 expected, u64 desired, u64& old_value) override {
    u8* p = find(address, mem, true);
    if (!p) return false;
    old_value = 0;
    std::memcpy(&old_value, p, size_t(1) << mem.log2_bytes);
    if (old_value == expected) std::memcpy(p, &desired, size_t(1) << mem.log2_bytes);
    return true;
  }

 private:
  u8* find(u64 address, const ir::MemInfo& mem, bool writes) {
    const u64 bytes = u64(1) << mem.log2_bytes;
    if (address - kGuestPage <= 0x1000 - bytes) return page + (address - kGuestPage);
    const bool writable = !writes && !mem.write_intent;
    if (writable && address - kReadOnlyPage <= 0x1000 - bytes) return read_only + (address - kReadOnlyPage);
    fault_address = address;
    return nullptr;
  }
};

}  // namespace emu::test
