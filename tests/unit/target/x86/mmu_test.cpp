// SPDX-License-Identifier: Apache-2.0
#include "unit/target/x86/cpu_bench.h"

namespace emu::x86 {
namespace {

using target::Access;
using target::TlbFill;

struct Fault {
  int vector;
  u32 error;
  bool operator==(const Fault&) const = default;
};

/// -1: mapped.
Fault walk(CpuBench& b, u64 va, Access access, u8 view, TlbFill* out = nullptr) {
  TlbFill fill;
  CpuTestAccess::drop(b.cpu);
  const bool ok = b.cpu.walk(va, access, view, fill);
  if (out) *out = fill;
  const auto [vector, error] = CpuTestAccess::pending(b.cpu);
  CpuTestAccess::drop(b.cpu);
  return ok ? Fault{-1, 0} : Fault{vector, error};
}
constexpr Fault kMapped{-1, 0};

TEST(Mmu, WithoutPagingAddressesAreIdentityAnd32Bit) {
  CpuBench b;
  TlbFill fill;
  EXPECT_EQ(walk(b, 0x123456789, Access::Store, kViewKernel, &fill), kMapped);
  EXPECT_EQ(fill.physical, 0x23456000u);
  EXPECT_TRUE(fill.writable);
}

TEST(Mmu, A20GateWrapsPhysicalAddresses) {
  CpuBench b;
  b.cpu.set_a20(false);
  EXPECT_TRUE(b.cpu.take_event());
  EXPECT_EQ(b.services.flushes > 0, true);
  TlbFill fill;
  walk(b, 0x100000, Access::Load, kViewKernel, &fill);
  EXPECT_EQ(fill.physical, 0u);
}

TEST(Mmu, LongModeWalkSetsAccessedAndDirty) {
  CpuBench b;
  b.enter_long();
  TlbFill fill;
  EXPECT_EQ(walk(b, 0x200123, Access::Load, kViewUser, &fill), kMapped);
  EXPECT_EQ(fill.physical, 0x200000u);
  EXPECT_TRUE(fill.readable);
  EXPECT_FALSE(fill.writable);  // not dirty yet
  EXPECT_EQ(b.get(CpuBench::pte_address(0x200000), 8), 0x200000u | 0x27);
  EXPECT_EQ(walk(b, 0x200123, Access::Store, kViewUser, &fill), kMapped);
  EXPECT_TRUE(fill.writable);
  EXPECT_EQ(b.get(CpuBench::pte_address(0x200000), 8), 0x200000u | 0x67);
}

TEST(Mmu, WalkStartsAgainWhenAnEntryChanges) {
  CpuBench b;
  b.enter_long();
  b.memory.lost_updates = 3;
  EXPECT_EQ(walk(b, 0x201000, Access::Store, kViewUser), kMapped);
  EXPECT_EQ(b.get(CpuBench::pte_address(0x201000), 8), 0x201000u | 0x67);
}

TEST(Mmu, TablesThatTakeNoUpdatesStillWork) {
  CpuBench b;
  b.enter_long();
  b.memory.lost_updates = 1 << 20;
  EXPECT_EQ(walk(b, 0x201000, Access::Load, kViewUser), kMapped);
}

TEST(Mmu, NotPresentPageFaultsWithAddress) {
  CpuBench b;
  b.enter_long();
  b.put(CpuBench::pte_address(0x300000), 8, 0);
  TlbFill fill;
  EXPECT_FALSE(b.cpu.walk(0x300abc, Access::Store, kViewUser, fill));
  EXPECT_EQ(CpuTestAccess::pending(b.cpu), (std::pair<int, u32>{kPFv, 6}));
  EXPECT_EQ(CpuTestAccess::pending_address(b.cpu), 0x300abcu);
}

TEST(Mmu, UserMayNotTouchSupervisorPages) {
  CpuBench b;
  b.enter_long();
  b.put(CpuBench::pte_address(0x300000), 8, 0x300003);
  EXPECT_EQ(walk(b, 0x300000, Access::Load, kViewUser), (Fault{kPFv, 5}));
  EXPECT_EQ(walk(b, 0x300000, Access::Store, kViewKernel), kMapped);
}

TEST(Mmu, WriteProtectAppliesToSupervisorOnlyWithWp) {
  CpuBench b;
  b.enter_long();
  b.put(CpuBench::pte_address(0x300000), 8, 0x300001);
  EXPECT_EQ(walk(b, 0x300000, Access::Store, kViewKernel), (Fault{kPFv, 3}));
  b.call(H_write_cr, 0, b.s().cr0 & ~u64(kCr0WP));
  EXPECT_EQ(walk(b, 0x300000, Access::Store, kViewKernel), kMapped);
}

TEST(Mmu, NoExecuteFaultsFetches) {
  CpuBench b;
  b.enter_long();
  b.put(CpuBench::pte_address(0x300000), 8, 0x300007 | bit64(63));
  EXPECT_EQ(walk(b, 0x300000, Access::Fetch, kViewUser), (Fault{kPFv, 0x15}));
  TlbFill fill;
  EXPECT_EQ(walk(b, 0x300000, Access::Load, kViewUser, &fill), kMapped);
  EXPECT_FALSE(fill.executable);
}

TEST(Mmu, NoExecuteBitIsReservedWithoutNxe) {
  CpuBench b;
  b.enter_long(0, 0);
  b.put(CpuBench::pte_address(0x300000), 8, 0x300007 | bit64(63));
  EXPECT_EQ(walk(b, 0x300000, Access::Load, kViewUser), (Fault{kPFv, 0xd}));
}

TEST(Mmu, SmepForbidsSupervisorFetchFromUserPages) {
  CpuBench b;
  b.enter_long(kCr4SMEP);
  EXPECT_EQ(walk(b, 0x300000, Access::Fetch, kViewKernel), (Fault{kPFv, 0x11}));
  EXPECT_EQ(walk(b, 0x300000, Access::Fetch, kViewUser), kMapped);
}

TEST(Mmu, SmapForbidsUserPagesButNotInTheOverrideView) {
  CpuBench b;
  b.enter_long();
  b.s().cr4 |= kCr4SMAP;
  EXPECT_EQ(walk(b, 0x300000, Access::Load, kViewKernel), (Fault{kPFv, 1}));
  EXPECT_EQ(walk(b, 0x300000, Access::Load, kViewKernelAc), kMapped);
}

/// Of user pages, whoever accesses them; never of fetches. SDM vol. 3, 5.6.2.
TEST(Mmu, ProtectionKeysTakeRightsAway) {
  CpuBench b;
  b.enter_long(kCr4PKE);
  constexpr u64 kPage = 0x9000, kKernelPage = 0xa000;
  b.put(CpuBench::pte_address(kPage), 8, kPage | 7 | u64(5) << 59);
  b.put(CpuBench::pte_address(kKernelPage), 8, kKernelPage | 3 | u64(5) << 59);
  EXPECT_EQ(walk(b, kPage, Access::Store, kViewUser), kMapped);
  b.s().gpr(RCX) = b.s().gpr(RDX) = 0;
  b.s().gpr(RAX) = 1u << 10;  // AD of key 5
  const int flushes = b.services.flushes;
  b.call(H_wrpkru);
  EXPECT_EQ(b.services.flushes, flushes + 1);
  EXPECT_EQ(walk(b, kPage, Access::Load, kViewUser), (Fault{kPFv, 0x25}));
  EXPECT_EQ(walk(b, kPage, Access::Load, kViewKernel), (Fault{kPFv, 0x21}));
  EXPECT_EQ(walk(b, kPage, Access::Fetch, kViewUser), kMapped);
  EXPECT_EQ(walk(b, kKernelPage, Access::Store, kViewKernel), kMapped);
  b.s().gpr(RAX) = 2u << 10;  // WD
  b.call(H_wrpkru);
  EXPECT_EQ(walk(b, kPage, Access::Load, kViewUser), kMapped);
  EXPECT_EQ(walk(b, kPage, Access::Store, kViewUser), (Fault{kPFv, 0x27}));
  EXPECT_EQ(walk(b, kPage, Access::Store, kViewKernel), (Fault{kPFv, 0x23}));
  b.s().cr0 &= ~u64(kCr0WP);
  EXPECT_EQ(walk(b, kPage, Access::Store, kViewKernel), kMapped);
  b.call(H_rdpkru);
  EXPECT_EQ(b.s().gpr(RAX), 2u << 10);
  // Rights of keys that no cached page has cost nothing.
  const int before = b.services.flushes;
  b.s().gpr(RAX) = 2u << 10 | 3u << 30;
  b.call(H_wrpkru);
  EXPECT_EQ(b.services.flushes, before);
}

TEST(Mmu, ReservedAddressBitsFault) {
  CpuBench b;
  b.enter_long();
  b.put(CpuBench::pte_address(0x300000), 8, 0x300007 | bit64(45));
  EXPECT_EQ(walk(b, 0x300000, Access::Store, kViewUser), (Fault{kPFv, 0xf}));
}

TEST(Mmu, NonCanonicalAddressIsGeneralProtection) {
  CpuBench b;
  b.enter_long();
  EXPECT_EQ(walk(b, 0x8000'0000'0000, Access::Load, kViewKernel), (Fault{kGP, 0}));
}

TEST(Mmu, OperandsOfCompatibilityModeEndAt4GiB) {
  CpuBench b;
  b.enter_long();
  b.put(kTables + 0x1000 + 32, 8, 0x87);  // 1 GiB at 4 GiB
  EXPECT_EQ(walk(b, bit64(32), Access::Load, kViewUser), kMapped);
  b.call(H_far_jump, kKernelCode, 0x8000, 4);
  EXPECT_EQ(walk(b, bit64(32), Access::Load, kViewUser), (Fault{kGP, 0}));
  EXPECT_EQ(walk(b, bit64(32), Access::Load, kViewKernel), kMapped) << "descriptor tables may lie there";
}

TEST(Mmu, LargePagesOf2MiBAnd1GiB) {
  CpuBench b;
  b.enter_long();
  b.put(kTables + 0x2000 + 8, 8, 0x200000 | 0x1e7);  // 2 MiB, global
  b.put(kTables + 0x1000 + 8, 8, 0x40000000 | 0x87);
  TlbFill fill;
  EXPECT_EQ(walk(b, 0x234567, Access::Load, kViewKernel, &fill), kMapped);
  EXPECT_EQ(fill.physical, 0x234000u);
  EXPECT_EQ(fill.page_size, 2u << 20);
  EXPECT_TRUE(fill.global);
  EXPECT_TRUE(fill.writable);
  EXPECT_EQ(walk(b, 0x41234567, Access::Load, kViewKernel, &fill), kMapped);
  EXPECT_EQ(fill.physical, 0x41234000u);
  EXPECT_EQ(fill.page_size, 1u << 30);
  b.put(kTables + 0x2000 + 8, 8, 0x202000 | 0x87);  // misaligned: reserved bit 13
  EXPECT_EQ(walk(b, 0x234567, Access::Load, kViewKernel), (Fault{kPFv, 9}));
}

TEST(Mmu, TwoLevelPagingWithLargePageAndPse36) {
  CpuBench b;
  b.enter_protected();
  b.put(kTables, 4, (kTables + 0x1000) | 7);
  b.put(kTables + 0x1000 + 0x55 * 4, 4, 0x77000 | 5);
  b.put(kTables + 4, 4, 0x00c00000 | 1 << 13 | 0x83);  // 4 MiB at 0x1'00c0'0000
  b.call(H_write_cr, 3, kTables);
  b.call(H_write_cr, 4, kCr4PSE);
  b.call(H_write_cr, 0, b.s().cr0 | kCr0PG | kCr0WP);
  TlbFill fill;
  EXPECT_EQ(walk(b, 0x55123, Access::Load, kViewUser, &fill), kMapped);
  EXPECT_EQ(fill.physical, 0x77000u);
  EXPECT_EQ(walk(b, 0x55123, Access::Store, kViewUser), (Fault{kPFv, 7}));
  EXPECT_EQ(walk(b, 0x55123, Access::Store, kViewKernel), (Fault{kPFv, 3}));
  EXPECT_EQ(walk(b, 0x00412345, Access::Load, kViewKernel, &fill), kMapped);
  EXPECT_EQ(fill.physical, 0x100c12000u);
  EXPECT_EQ(fill.page_size, 4u << 20);
  EXPECT_EQ(walk(b, 0x00800000, Access::Fetch, kViewKernel), (Fault{kPFv, 0}));  // no I bit without NXE and SMEP
}

TEST(Mmu, PaeUsesThePointersLoadedWithCr3) {
  CpuBench b;
  b.enter_protected();
  b.put(kTables, 8, (kTables + 0x1000) | 1);
  b.put(kTables + 0x1000, 8, (kTables + 0x2000) | 7);
  b.put(kTables + 0x2000, 8, 0x99000 | 7);
  b.call(H_write_cr, 4, kCr4PAE);
  b.call(H_write_cr, 3, kTables);
  b.call(H_write_cr, 0, b.s().cr0 | kCr0PG);
  b.put(kTables, 8, 0);  // changes nothing until CR3 is loaded again
  TlbFill fill;
  EXPECT_EQ(walk(b, 0xabc, Access::Load, kViewUser, &fill), kMapped);
  EXPECT_EQ(fill.physical, 0x99000u);
  b.call(H_write_cr, 3, kTables);
  EXPECT_EQ(walk(b, 0xabc, Access::Load, kViewUser), (Fault{kPFv, 4}));
}

/// Like a processor's paging-structure cache: kept until something is flushed, and never an absent or unaccessed entry.
TEST(Mmu, LowestTableIsRememberedUntilAFlush) {
  CpuBench b;
  b.enter_protected();
  b.put(kTables, 8, (kTables + 0x1000) | 1);
  b.put(kTables + 0x1000, 8, (kTables + 0x2000) | 7);
  b.put(kTables + 0x2000, 8, 0x99000 | 7);
  b.put(kTables + 0x3000, 8, 0x88000 | 7);
  b.call(H_write_cr, 4, kCr4PAE);
  b.call(H_write_cr, 3, kTables);
  b.call(H_write_cr, 0, b.s().cr0 | kCr0PG);
  TlbFill fill;
  EXPECT_EQ(walk(b, 0x200abc, Access::Load, kViewUser), (Fault{kPFv, 4}));
  b.put(kTables + 0x1008, 8, (kTables + 0x3000) | 7);  // becomes present: seen at once
  EXPECT_EQ(walk(b, 0x200abc, Access::Load, kViewUser, &fill), kMapped);
  EXPECT_EQ(fill.physical, 0x88000u);
  EXPECT_EQ(walk(b, 0xabc, Access::Load, kViewUser, &fill), kMapped);
  b.put(kTables + 0x1000, 8, (kTables + 0x3000) | 5);  // another table, and read-only
  b.put(kTables + 0x2008, 8, 0x55000 | 7);
  EXPECT_EQ(walk(b, 0x1abc, Access::Store, kViewUser, &fill), kMapped);
  EXPECT_EQ(fill.physical, 0x55000u);
  b.call(H_invlpg, 0x1abc);
  EXPECT_EQ(walk(b, 0x0abc, Access::Load, kViewUser, &fill), kMapped);
  EXPECT_EQ(fill.physical, 0x88000u);
  EXPECT_EQ(walk(b, 0x0abc, Access::Store, kViewUser), (Fault{kPFv, 7}));
}

TEST(Mmu, PaePointerWithReservedBitsFaultsTheLoad) {
  CpuBench b;
  b.enter_protected();
  b.put(kTables, 8, (kTables + 0x1000) | 3);  // bit 1 is reserved
  b.call(H_write_cr, 4, kCr4PAE);
  b.call(H_write_cr, 3, kTables);
  b.call(H_write_cr, 0, b.s().cr0 | kCr0PG);
  EXPECT_EQ(b.pending_vector(), kGP);
  EXPECT_FALSE(b.s().cr0 & kCr0PG);
}

TEST(Mmu, FiveLevels) {
  CpuBench b("max,+la57");
  b.enter_protected();
  b.map_identity();
  b.put(kTables + 0x8000 + 8, 8, kTables | 7);  // entry 1 of the fifth level: 2^48
  b.call(H_write_cr, 4, kCr4PAE | kCr4LA57);
  b.call(H_write_cr, 3, kTables + 0x8000);
  b.write_msr(0xc0000080, kEferLME);
  b.call(H_write_cr, 0, b.s().cr0 | kCr0PG);
  TlbFill fill;
  EXPECT_EQ(walk(b, bit64(48) + 0x5123, Access::Load, kViewKernel, &fill), kMapped);
  EXPECT_EQ(fill.physical, 0x5000u);
  EXPECT_EQ(walk(b, bit64(57), Access::Load, kViewKernel), (Fault{kGP, 0}));
}

TEST(Mmu, DebugTranslateHasNoSideEffects) {
  CpuBench b;
  b.enter_long();
  EXPECT_EQ(b.cpu.debug_translate(0x2ff123), 0x2ff123u);
  EXPECT_EQ(b.get(CpuBench::pte_address(0x2ff000), 8), 0x2ff007u);
  EXPECT_EQ(b.cpu.debug_translate(0x40000000), std::nullopt);
}

TEST(Mmu, Cr3WritesFlushOrSwitch) {
  CpuBench b;
  b.enter_long();
  b.services.switches.clear();
  b.call(H_write_cr, 3, kTables);
  EXPECT_EQ(b.services.non_global, 1);
  b.call(H_write_cr, 4, b.s().cr4 | kCr4PCIDE);
  b.services.switches.clear();
  b.services.flushes = 0;
  b.call(H_write_cr, 3, kTables | 5 | bit64(63));
  ASSERT_EQ(b.services.switches.size(), 1u);
  EXPECT_EQ(b.services.switches[0], (std::pair<u64, bool>{kTables | 5, true}));
  EXPECT_EQ(b.services.flushes, 0);
  EXPECT_EQ(b.s().cr3, kTables | 5);
  b.call(H_write_cr, 3, kTables | 6);
  EXPECT_EQ(b.services.switches.back(), (std::pair<u64, bool>{kTables | 6, false}));
}

}  // namespace
}  // namespace emu::x86
