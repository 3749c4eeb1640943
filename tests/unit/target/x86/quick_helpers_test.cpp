// SPDX-License-Identifier: Apache-2.0
// Quick helpers do exactly what the helpers of the same name do, or refuse and leave everything as it was.
#include "target/x86/quick_helpers.h"

#include <memory>
#include <random>

#include "target/x86/evex_access.h"
#include "tcg/abi/host_vector.h"
#include "unit/target/x86/cpu_bench.h"

namespace emu::x86 {
namespace {

constexpr u64 kData = 0x90000;  ///< two pages that may be read and written, one that may be read, one that is not there

struct QuickBench : CpuBench {
  std::unique_ptr<tcg::View> view = std::make_unique<tcg::View>();

  explicit QuickBench(u64 seed) {
    enter_long();
    const u64 host = reinterpret_cast<u64>(memory.ram.data());
    view->l1[tcg::tlb_index(kData)] = {kData, kData, host, 0};
    view->l1[tcg::tlb_index(kData + 0x1000)] = {kData + 0x1000, kData + 0x1000, host, 0};
    view->l1[tcg::tlb_index(kData + 0x2000)] = {kData + 0x2000, 0, host, 0};
    for (auto*& v : env().views) v = view.get();
    memory.offers_runs = false;
    std::mt19937_64 random(seed);
    for (u64 i = 0; i < 0x4000; i += 8) put(kData + i, 8, random());
    for (unsigned i = 0; i < 16; ++i) s().gpr(i) = random();
    for (u64& k : s().opmask) k = random() & random();
    for (u8& byte : s().vector_slot(tcg::HostVector::kMemorySlot).bytes) byte = u8(random());
    env().cc_op = tcg::cc_op(tcg::CcKind::Sub, 3);
    env().cc_a = random();
    env().cc_b = random();
    s().df = random() % 8 == 0 ? -1 : 1;
  }
};

struct Case {
  Helper helper;
  bool (*quick)(tcg::EnvHeader&, const u64*);
  u64 args[2];
};

/// Whether the leaf did it.
template <typename Prepare>
bool expect_same_or_refusal(const Case& c, u64 seed, Prepare&& prepare) {
  QuickBench full(seed), quick(seed);
  prepare(full);
  prepare(quick);
  const X86State& s = quick.s();
  const auto bytes = [&] {
    const u8* at = reinterpret_cast<const u8*>(&s);
    return std::vector<u8>(at, at + sizeof s);
  };
  const std::vector<u8> state = bytes(), ram = quick.memory.ram;
  if (!c.quick(quick.env(), c.args)) {
    EXPECT_TRUE(bytes() == state) << "seed " << seed;
    EXPECT_TRUE(quick.memory.ram == ram) << "seed " << seed;
    return false;
  }
  const u64 result = full.call(c.helper, c.args[0], c.args[1]);
  EXPECT_FALSE(full.cpu.has_pending_fault()) << "seed " << seed;
  for (unsigned i = 0; i < 16; ++i) EXPECT_EQ(full.s().gpr(i), s.gpr(i)) << "register " << i << ", seed " << seed;
  EXPECT_EQ(read_rflags(full.s()), read_rflags(s)) << "seed " << seed;
  constexpr unsigned kSlot = tcg::HostVector::kMemorySlot;
  EXPECT_EQ(std::memcmp(&full.s().vec_tmp[kSlot & 1], &s.vec_tmp[kSlot & 1], sizeof(VectorSlot)), 0) << "seed " << seed;
  const auto data = [](QuickBench& b) { return std::vector<u8>(&b.memory.ram[kData], &b.memory.ram[kData + 0x4000]); };
  EXPECT_TRUE(data(full) == data(quick)) << "seed " << seed;
  if (c.helper == H_read_flags) {
    EXPECT_EQ(quick.env().helper_result, result);
  }
  return true;
}

u64 somewhere(std::mt19937_64& random) { return kData + random() % 0x3800; }

TEST(QuickHelpers, RepMovsEqualsTheHelper) {
  unsigned done = 0;
  for (u64 seed = 0; seed < 150; ++seed) {
    std::mt19937_64 random(seed);
    const unsigned log2 = random() % 4;
    const u64 from = somewhere(random), near = from + random() % 64 - 32;
    const u64 to = random() % 4 == 0 ? near : somewhere(random), count = random() % (seed % 2 ? 40 : 700);
    done += expect_same_or_refusal({H_rep_movs, quick_rep_movs, {1u << log2 | 8 << 8 | u64(DS) << 16, 0}}, seed,
                                   [&](QuickBench& b) {
                                     b.s().gpr(RSI) = from;
                                     b.s().gpr(RDI) = to;
                                     b.s().gpr(RCX) = count;
                                   });
  }
  EXPECT_GT(done, 20u);
}

TEST(QuickHelpers, RepStosEqualsTheHelper) {
  unsigned done = 0;
  for (u64 seed = 0; seed < 100; ++seed) {
    std::mt19937_64 random(seed);
    const unsigned log2 = random() % 4;
    const u64 to = somewhere(random), count = random() % (seed % 2 ? 40 : 700);
    done += expect_same_or_refusal({H_rep_stos, quick_rep_stos, {1u << log2 | 8 << 8 | u64(ES) << 16, 0}}, seed,
                                   [&](QuickBench& b) {
                                     b.s().gpr(RDI) = to;
                                     b.s().gpr(RCX) = count;
                                   });
  }
  EXPECT_GT(done, 20u);
}

TEST(QuickHelpers, StringsRefuseWhatIsRare) {
  const auto refuses = [](u64 mode, auto&& change) {
    const auto prepare = [&](QuickBench& b) {
      b.s().df = 1;
      b.s().gpr(RSI) = kData;
      b.s().gpr(RDI) = kData + 0x1000;
      b.s().gpr(RCX) = 16;
      change(b);
    };
    return !expect_same_or_refusal({H_rep_movs, quick_rep_movs, {mode, 0}}, 1, prepare);
  };
  constexpr u64 kMode = 1 | 8 << 8 | u64(DS) << 16;
  EXPECT_FALSE(refuses(kMode, [](QuickBench&) {}));
  EXPECT_TRUE(refuses(1 | 4 << 8 | u64(DS) << 16, [](QuickBench&) {}));
  EXPECT_TRUE(refuses(1 | 8 << 8 | u64(GS) << 16, [](QuickBench&) {}));
  EXPECT_TRUE(refuses(kMode, [](QuickBench& b) { b.s().df = -1; }));
  EXPECT_TRUE(refuses(kMode, [](QuickBench& b) { b.s().rflags_system |= kTF; }));
  EXPECT_TRUE(refuses(kMode, [](QuickBench& b) { b.env().guest_debug = 1; }));
  EXPECT_TRUE(refuses(kMode, [](QuickBench& b) { b.env().no_string_runs = 1; }));
  EXPECT_TRUE(refuses(kMode, [](QuickBench& b) { b.s().gpr(RCX) = 0; }));
  EXPECT_TRUE(refuses(kMode, [](QuickBench& b) { b.s().gpr(RCX) = u64(1) << 63; }));
  EXPECT_TRUE(refuses(kMode, [](QuickBench& b) { b.s().gpr(RDI) = kData + 1; })) << "the pattern repeats";
  EXPECT_TRUE(refuses(kMode, [](QuickBench& b) { b.s().gpr(RDI) = kData + 0xff8; })) << "two pages";
  EXPECT_TRUE(refuses(kMode, [](QuickBench& b) { b.s().gpr(RDI) = kData + 0x2000; })) << "not to be written";
  EXPECT_TRUE(refuses(kMode, [](QuickBench& b) { b.s().gpr(RSI) = kData + 0x3000; })) << "not there";
}

TEST(QuickHelpers, Cmpxchg16bEqualsTheHelper) {
  unsigned done = 0;
  for (u64 seed = 0; seed < 60; ++seed) {
    std::mt19937_64 random(seed);
    const u64 at = somewhere(random) & ~u64(random() % 4 == 0 ? 7 : 15);
    done += expect_same_or_refusal({H_cmpxchg16b, quick_cmpxchg16b, {at, 0}}, seed, [&](QuickBench& b) {
      if (seed % 2) b.s().gpr(RAX) = b.get(at, 8), b.s().gpr(RDX) = b.get(at + 8, 8);
    });
  }
  EXPECT_GT(done, 20u);
}

TEST(QuickHelpers, ReadFlagsEqualsTheHelper) {
  for (u64 seed = 0; seed < 8; ++seed) {
    EXPECT_TRUE(expect_same_or_refusal({H_read_flags, quick_read_flags, {}}, seed,
                                       [&](QuickBench& b) { b.s().rflags_system |= seed & 1 ? kIF | kAC : kRF; }));
  }
}

TEST(QuickHelpers, MmxRegistersAreThoseOfTheImage) {
  QuickBench full(3), quick(3);
  for (QuickBench* b : {&full, &quick}) b->call(H_mmx_write, 5, 0x1234);
  const u64 write[2] = {5, 0x8877665544332211}, read[1] = {5};
  full.call(H_mmx_write, write[0], write[1]);
  ASSERT_TRUE(quick_mmx_write(quick.env(), write));
  EXPECT_EQ(std::memcmp(full.env().fpu_image, quick.env().fpu_image, 160), 0);
  ASSERT_TRUE(quick_mmx_read(quick.env(), read));
  EXPECT_EQ(quick.env().helper_result, write[1]);
  quick.env().fpu_live = 1;
  EXPECT_FALSE(quick_mmx_read(quick.env(), read)) << "the unit holds it";
  quick.env().fpu_live = 0;
  quick.env().fpu_image[3] = 0x20;
  EXPECT_FALSE(quick_mmx_read(quick.env(), read)) << "TOP is not 0";
  EXPECT_FALSE(quick_mmx_write(quick.env(), write));
}

TEST(QuickHelpers, MaskedOperandsEqualTheHelpers) {
  unsigned loads = 0, stores = 0;
  for (u64 seed = 0; seed < 200; ++seed) {
    std::mt19937_64 random(seed);
    EvexAccess a{.slot = u8(tcg::HostVector::kMemorySlot), .mask = u8(1 + random() % 7)};
    a.element_log2 = u8(random() % 4);
    a.bytes = u8(std::max(16u << random() % 3, 1u << a.element_log2));
    a.compact = random() % 8 == 0;
    const bool stores_it = seed % 2;
    a.probes = stores_it && random() % 4 == 0;
    const u64 at = somewhere(random), which = random() % 4;
    const auto prepare = [&](QuickBench& b) {
      if (which == 0) b.s().opmask[a.mask] = ~u64(0);
      if (which == 1) b.s().opmask[a.mask] = 0;
    };
    if (stores_it)
      stores += expect_same_or_refusal({H_evex_store, quick_evex_store, {at, a.pack()}}, seed, prepare);
    else if (!a.compact)  // what lies behind the elements that are taken is nobody's
      loads += expect_same_or_refusal({H_evex_load, quick_evex_load, {at, a.pack()}}, seed, prepare);
  }
  EXPECT_GT(loads, 20u);
  EXPECT_GT(stores, 20u);
}

TEST(GeneralHelpers, EqualTheHelpers) {
  QuickBench b(1);
  std::mt19937_64 random(2);
  for (unsigned i = 0; i < 1000; ++i) {
    u64 args[3] = {random(), random() & random(), u64(1) << i % 4};
    EXPECT_EQ(general_pdep(b.env(), args), b.cpu.helper_pdep(args));
    EXPECT_EQ(general_pext(b.env(), args), b.cpu.helper_pext(args));
    args[1] &= low_mask(unsigned(args[2]) * 8);
    EXPECT_EQ(general_crc32(b.env(), args), b.cpu.helper_crc32(args));
  }
}

}  // namespace
}  // namespace emu::x86
