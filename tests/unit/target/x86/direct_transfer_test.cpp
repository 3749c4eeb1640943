// SPDX-License-Identifier: Apache-2.0
// Direct transfers do exactly what the helpers of the same name do, or refuse and leave everything as it was.
#include "target/x86/direct_transfer.h"

#include <functional>
#include <memory>

#include "unit/target/x86/cpu_bench.h"

namespace emu::x86 {
namespace {

constexpr u64 kEntry = 0x48000, kFrame = 0x70000;

/// A CPU in long mode whose first-level TLB holds all of its memory, in every view.
struct DirectBench : CpuBench {
  std::vector<std::unique_ptr<tcg::View>> views;

  explicit DirectBench(u64 cr4 = 0) {
    enter_long();
    if (cr4 != 0) {
      for (u64 page = 0; page < 0x100000; page += 0x1000) put(pte_address(page), 8, page | 3);  // SMAP: not the user's
      call(H_write_cr, 4, kCr4PAE | kCr4PGE | kCr4OSFXSR | cr4);
    }
    for (u8 v = 0; v < kViewCount; ++v) {
      views.push_back(std::make_unique<tcg::View>());
      for (u64 page = 0x1000; page < memory.ram.size(); page += 0x1000) {
        views[v]->l1[tcg::tlb_index(page)] = {page, page, reinterpret_cast<u64>(memory.ram.data()), 0};
      }
      env().views[v] = views[v].get();
    }
    env().view = env().views[0];
    put_gate64(0x80, kKernelCode64, kEntry, 14, 3);
    put_gate64(14, kKernelCode64, 0xffff'8000'0000'1000, 14, 0);
    put_gate64(2, kKernelCode64, kEntry, 15, 0, 1);
    put(kTss + 0x24, 8, kKernelStack + 0x4000);
    for (u16 selector : {kKernelCode64, kKernelData, kUserCode64, kUserData}) {
      put(kGdt + (selector & ~7u) + 5, 1, get(kGdt + (selector & ~7u) + 5, 1) | 1);  // accessed
    }
    s().star = u64(kKernelCode64) << 32 | u64(kUserCode64 - 16) << 48;
    s().lstar = kEntry;
    s().sfmask = kTF | kIF | kDF | kAC | kNT;
    for (Seg seg : {DS, ES, FS, GS}) call(H_load_segment, seg, 0);
  }
  void accept_mode(u32 mode, u8 view) {
    env().modes[tcg::mode_record_index(mode)] = {u64(mode) + 1, nullptr, env().views[view], view};
  }
  /// All memory but the page tables, where walks leave marks.
  std::vector<u8> contents() const {
    std::vector<u8> bytes = memory.ram;
    std::fill_n(bytes.begin() + kTables, 0x5000, u8(0));
    return bytes;
  }
  void put_frame(std::initializer_list<u64> words, u64 at = kFrame) {  // from the top down
    for (u64 word : words) put(at -= 8, 8, word);
    s().gpr(RSP) = at;
  }
};

using Prepare = std::function<void(DirectBench&)>;
using Direct = bool (*)(tcg::EnvHeader&, const u64*);

void expect_equal_states(const X86State& a, const X86State& b) {
  for (unsigned i = 0; i < 16; ++i) EXPECT_EQ(a.gpr(i), b.gpr(i)) << "register " << i;
  for (unsigned i = 0; i < 8; ++i) {
    const Seg seg = Seg(i);
    EXPECT_EQ(a.seg[seg].selector, b.seg[seg].selector) << "segment " << i;
    EXPECT_EQ(a.seg[seg].attributes, b.seg[seg].attributes) << "segment " << i;
    EXPECT_EQ(a.seg[seg].limit, b.seg[seg].limit) << "segment " << i;
    EXPECT_EQ(a.segment_base(seg), b.segment_base(seg)) << "segment " << i;
    if (i < 6) {
      EXPECT_EQ(std::memcmp(&a.seg_range[i], &b.seg_range[i], sizeof a.seg_range[i]), 0) << "segment " << i;
    }
  }
  EXPECT_EQ(read_rflags(a), read_rflags(b));
  EXPECT_EQ(a.rflags_system, b.rflags_system);
  EXPECT_EQ(a.hdr.pc, b.hdr.pc);
  EXPECT_EQ(a.static_mode, b.static_mode);
  EXPECT_EQ(a.inhibit_interrupts, b.inhibit_interrupts);
}

void expect_same(const Prepare& setup, const std::function<void(DirectBench&)>& full,
                 const std::function<bool(DirectBench&)>& direct, u64 cr4 = 0) {
  DirectBench a(cr4), b(cr4);
  setup(a);
  setup(b);
  a.env().no_direct_entry = 1;
  full(a);
  ASSERT_FALSE(a.cpu.has_pending_fault());
  b.accept_mode(a.cpu.mode_key(), a.cpu.current_view());
  ASSERT_TRUE(direct(b));
  expect_equal_states(a.s(), b.s());
  EXPECT_EQ(b.env().mode, a.cpu.mode_key());
  EXPECT_EQ(b.env().view_index, a.cpu.current_view());
  EXPECT_EQ(b.cpu.mode_key(), b.env().mode);
  EXPECT_TRUE(a.contents() == b.contents());
}

void expect_same(const Prepare& setup, Helper helper, Direct direct, std::initializer_list<u64> arguments,
                 u64 cr4 = 0) {
  u64 args[6] = {};
  std::copy(arguments.begin(), arguments.end(), args);
  expect_same(
      setup, [&](DirectBench& b) { b.call(helper, args[0], args[1]); },
      [&](DirectBench& b) { return direct(b.env(), args); }, cr4);
}

/// Refuses, and nothing has changed, although every mode is at hand.
void expect_refusal(const Prepare& setup, Direct direct, std::initializer_list<u64> arguments, u64 cr4 = 0) {
  DirectBench b(cr4);
  setup(b);
  u64 args[6] = {};
  std::copy(arguments.begin(), arguments.end(), args);
  const X86State& s = b.s();
  for (unsigned cpl : {0u, 3u}) {
    for (u64 flags : {u64(0), s.rflags_system, s.gpr(R11)}) {
      b.accept_mode(make_mode_key(s, make_static_mode64(s, cpl), flags & kSystemFlags, false), view_of(s, cpl, flags));
    }
  }
  const auto bytes = [&] {
    const u8* at = reinterpret_cast<const u8*>(&s);
    return std::vector<u8>(at, at + sizeof s);
  };
  const std::vector<u8> state = bytes(), ram = b.memory.ram;
  EXPECT_FALSE(direct(b.env(), args));
  EXPECT_TRUE(bytes() == state);
  EXPECT_TRUE(b.memory.ram == ram);
}

const Prepare kNoSetup = [](DirectBench&) {};
const Prepare kUser = [](DirectBench& b) { b.go_user64(0x100000, 0x1ff000, kIF | kCF | kDF); };

TEST(DirectSyscall, EqualsTheHelper) {
  expect_same(kUser, H_syscall, direct_syscall, {0x100002});
  expect_same(kNoSetup, H_syscall, direct_syscall, {0x8002});  // from the kernel itself
  const Prepare lazy = [](DirectBench& b) {
    kUser(b);
    b.env().cc_op = tcg::cc_op(tcg::CcKind::Sub, 3);
    b.env().cc_a = -1;
    b.env().cc_b = 2;
  };
  expect_same(lazy, H_syscall, direct_syscall, {0x100002});
  const Prepare keeps_ac = [](DirectBench& b) {
    b.go_user64(0x100000, 0x1ff000, kIF | kAC);
    b.s().sfmask = kIF;
  };
  expect_same(keeps_ac, H_syscall, direct_syscall, {0x100002}, kCr4SMAP);
}

TEST(DirectSyscall, RefusesWhatIsRare) {
  expect_refusal([](DirectBench& b) { kUser(b), b.s().efer &= ~u64(kEferSCE); }, direct_syscall, {0x100002});
  expect_refusal([](DirectBench& b) { kUser(b), b.s().rflags_system |= kTF; }, direct_syscall, {0x100002});
  expect_refusal([](DirectBench& b) { kUser(b), b.env().no_direct_entry = 1; }, direct_syscall, {0x100002});
  expect_refusal([](DirectBench& b) { kUser(b), b.s().seg[CS].attributes ^= bit(21) | bit(22); }, direct_syscall,
                 {0x100002});
  const Prepare stays_open = [](DirectBench& b) {
    kUser(b);
    b.s().sfmask = 0;
    b.s().signals = 1;
  };
  expect_refusal(stays_open, direct_syscall, {0x100002});
}

const Prepare kToUser = [](DirectBench& b) {
  b.s().gpr(RCX) = 0x100000;
  b.s().gpr(R11) = kIF | kZF | kDF | kAC | kRF | kID;
};

TEST(DirectSysret, EqualsTheHelper) {
  expect_same(kToUser, H_sysret, direct_sysret, {8});
  expect_same(kToUser, H_sysret, direct_sysret, {8}, kCr4SMAP | kCr4UMIP | kCr4TSD);
  expect_same([](DirectBench& b) { kToUser(b), b.s().gpr(R11) = kIOPL | kNT; }, H_sysret, direct_sysret, {8});
}

TEST(DirectSysret, RefusesWhatIsRare) {
  expect_refusal(kToUser, direct_sysret, {4});
  expect_refusal([](DirectBench& b) { kToUser(b), b.s().gpr(RCX) = u64(1) << 47; }, direct_sysret, {8});
  expect_refusal([](DirectBench& b) { kToUser(b), b.s().gpr(R11) |= kTF; }, direct_sysret, {8});
  expect_refusal([](DirectBench& b) { kToUser(b), b.s().signals = 1; }, direct_sysret, {8});
  expect_refusal(kUser, direct_sysret, {8});
  expect_refusal([](DirectBench& b) { kToUser(b), b.s().efer &= ~u64(kEferSCE); }, direct_sysret, {8});
}

const Prepare kFrameToUser = [](DirectBench& b) {
  b.put_frame({kUserData, 0x1ff000, kIF | kCF | kAC | 2, kUserCode64, 0x100000});
};
const Prepare kFrameToKernel = [](DirectBench& b) {
  b.put_frame({kKernelData, 0x60008, kIF | kRF | 2, kKernelCode64, 0x9000});
};

TEST(DirectIret, EqualsTheHelper) {
  expect_same(kFrameToUser, H_iret, direct_iret, {8, 0});
  expect_same(kFrameToUser, H_iret, direct_iret, {8, 0}, kCr4SMAP);
  expect_same(kFrameToKernel, H_iret, direct_iret, {8, 0});
  expect_same([](DirectBench& b) { b.put_frame({0, 0x60008, kNT | kIOPL | 2, kKernelCode64, 0x9000}); }, H_iret,
              direct_iret, {8, 0});
  const Prepare user_to_user = [](DirectBench& b) {
    kUser(b);
    b.put_frame({kUserData, 0x1fe000, kIOPL | kZF | 2, kUserCode64, 0x101000});  // IOPL and IF stay
  };
  expect_same(user_to_user, H_iret, direct_iret, {8, 0});
}

TEST(DirectIret, RefusesWhatIsRare) {
  const auto frame = [](std::initializer_list<u64> words) {
    return [words = std::vector<u64>(words)](DirectBench& b) {
      u64 sp = kFrame;
      for (u64 word : words) b.put(sp -= 8, 8, word);
      b.s().gpr(RSP) = sp;
    };
  };
  expect_refusal(frame({kUserData, 0x1ff000, kIF | kTF, kUserCode64, 0x100000}), direct_iret, {8, 0});
  expect_refusal(frame({kUserData, 0x1ff000, kIF, kUserCode64, u64(1) << 47}), direct_iret, {8, 0});
  expect_refusal(frame({kUserData, 0x1ff000, kIF, kUserCode32, 0x100000}), direct_iret, {8, 0});
  expect_refusal(frame({kUserData, 0x1ff000, kIF, 0, 0x100000}), direct_iret, {8, 0});
  expect_refusal(frame({kUserData, 0x1ff000, kIF, kUserCode64 | 4, 0x100000}), direct_iret, {8, 0});
  expect_refusal(frame({kUserData, 0x1ff000, kIF, 0x1003, 0x100000}), direct_iret, {8, 0});
  expect_refusal(frame({0, 0x1ff000, kIF, kUserCode64, 0x100000}), direct_iret, {8, 0});
  expect_refusal(frame({kKernelData, 0x1ff000, kIF, kUserCode64, 0x100000}), direct_iret, {8, 0});
  expect_refusal(frame({kUserCode64, 0x1ff000, kIF, kUserCode64, 0x100000}), direct_iret, {8, 0});
  expect_refusal(kFrameToUser, direct_iret, {4, 0});
  expect_refusal([](DirectBench& b) { kFrameToUser(b), b.s().rflags_system |= kNT; }, direct_iret, {8, 0});
  expect_refusal([](DirectBench& b) { kFrameToUser(b), b.s().nmi_blocked = 1; }, direct_iret, {8, 0});
  expect_refusal([](DirectBench& b) { kFrameToUser(b), b.s().signals = 1; }, direct_iret, {8, 0});
  expect_refusal([](DirectBench& b) { kFrameToUser(b), b.call(H_load_segment, DS, kKernelData); }, direct_iret, {8, 0});
  expect_refusal([](DirectBench& b) { kFrameToUser(b), b.put(kGdt + (kUserCode64 & ~7u) + 5, 1, 0xfa); }, direct_iret,
                 {8, 0});
  expect_refusal([](DirectBench& b) { kFrameToUser(b), b.put(kGdt + (kUserCode64 & ~7u) + 5, 1, 0x7b); }, direct_iret,
                 {8, 0});
  expect_refusal([](DirectBench& b) { kFrameToUser(b), b.s().gdt.limit = (kUserCode64 & ~7u) + 6; }, direct_iret,
                 {8, 0});
  const Prepare not_in_tlb = [](DirectBench& b) {
    kFrameToUser(b);
    b.env().views[kViewKernel]->l1[tcg::tlb_index(kFrame - 8)].rd = 0;
  };
  expect_refusal(not_in_tlb, direct_iret, {8, 0});
  expect_refusal(
      [](DirectBench& b) { b.put_frame({kUserData, 0x1ff000, kIF, kUserCode64, 0x100000}, kFrame + 16); }, direct_iret,
      {8, 0});  // across pages
  const Prepare misaligned = [](DirectBench& b) {
    b.put_frame({kUserData, 0x1ff000, kIF, kUserCode64, 0x100000}, kFrame - 4);
  };
  expect_refusal(misaligned, direct_iret, {8, 0});
}

TEST(DirectInterrupt, SoftwareInterruptEqualsTheHelper) {
  expect_same(kUser, H_software_int, direct_software_int, {0x80, 0x100002});
  expect_same(kNoSetup, H_software_int, direct_software_int, {0x80, 0x8002});
  expect_same(kNoSetup, H_software_int, direct_software_int, {2, 0x8002});  // own stack, IF stays
}

TEST(DirectInterrupt, FaultWithErrorCodeEqualsTheHelper) {
  for (const Prepare& setup : {kNoSetup, kUser}) {
    expect_same(
        setup,
        [](DirectBench& b) {
          b.put(b.pte_address(0x123000), 8, 0);
          u64 value = 0;
          b.memory.load(0x123000, 8, kViewUser, value);
          b.env().leave = 0;
          b.deliver();
          b.s().cr2 = 0;
        },
        [](DirectBench& b) {
          b.put(b.pte_address(0x123000), 8, 0);
          return direct_deliver(b.s(), {.vector = 14, .is_fault = true, .has_error = true, .error = 4,
                                        .return_pc = b.s().hdr.pc});
        });
  }
}

TEST(DirectInterrupt, RefusesWhatIsRare) {
  expect_refusal(kUser, direct_software_int, {14, 0x100002});    // gate for the kernel only
  expect_refusal(kUser, direct_software_int, {0x81, 0x100002});  // no gate
  expect_refusal([](DirectBench& b) { kUser(b), b.s().idt.limit = 0x80 * 16 + 14; }, direct_software_int, {0x80, 0});
  expect_refusal([](DirectBench& b) { kUser(b), b.s().rflags_system |= kTF; }, direct_software_int, {0x80, 0});
  expect_refusal([](DirectBench& b) { kUser(b), b.put_gate64(0x80, kUserCode32, kEntry, 14, 3); }, direct_software_int,
                 {0x80, 0});
  expect_refusal([](DirectBench& b) { kUser(b), b.put_gate64(0x80, kKernelCode64, u64(1) << 47, 14, 3); },
                 direct_software_int, {0x80, 0});
  expect_refusal([](DirectBench& b) { kUser(b), b.put(kTss + 4, 8, u64(1) << 60); }, direct_software_int, {0x80, 0});
  expect_refusal([](DirectBench& b) { kUser(b), b.s().seg[TR].limit = 10; }, direct_software_int, {0x80, 0});
  const Prepare stack_not_writable = [](DirectBench& b) {
    kUser(b);
    b.env().views[kViewKernel]->l1[tcg::tlb_index(kKernelStack - 8)].wr = 0;
  };
  expect_refusal(stack_not_writable, direct_software_int, {0x80, 0});
}

TEST(DirectTransfer, RefusesAModeThatIsNotAtHand) {
  DirectBench b;
  kUser(b);
  const u64 args[6] = {0x100002};
  EXPECT_FALSE(direct_syscall(b.env(), args));
  EXPECT_EQ(b.s().cpl(), 3u);
}

}  // namespace
}  // namespace emu::x86
