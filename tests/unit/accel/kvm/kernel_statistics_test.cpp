// SPDX-License-Identifier: Apache-2.0
#include "accel/kvm/kernel_statistics.h"

#include <gtest/gtest.h>

#include "unit/accel/kvm/fake_kvm.h"

namespace emu::accel {
namespace {

using test::FakeKvm;

class Statistics : public testing::Test {
 protected:
  template <typename T>
  void put(u64 at, const T& value) {
    kvm.file.resize(std::max<size_t>(kvm.file.size(), at + sizeof value));
    std::memcpy(kvm.file.data() + at, &value, sizeof value);
  }
  Statistics() {
    kvm.on(KVM_GET_STATS_FD, [](u64) { return 7; });
    put(0, std::array<u32, 6>{0, 8, 3, 24, 32, 200});  // names of 8 bytes, three of them, from 32; data from 200
    add(0, "exits", 1, 0);
    add(1, "halts", 2, 8);  // a histogram
    add(2, "kicks", 1, 24);
    put(200, std::array<u64, 4>{5, 0, 0, 9});
  }
  void add(u64 index, const char* name, u16 words, u32 offset) {
    put(32 + index * 24, std::pair<u32, u16>{0, 0});
    put(32 + index * 24 + 6, words);
    put(32 + index * 24 + 8, offset);
    std::array<char, 8> text{};
    std::strncpy(text.data(), name, 7);
    put(32 + index * 24 + 16, text);
  }
  FakeKvm kvm;
  KvmFd vcpu{kvm, 102};
};

using Counters = std::vector<std::pair<std::string, u64>>;

TEST_F(Statistics, CountersHaveNamesAndHistogramsAreLeftOut) {
  {
    const KernelStatistics statistics(vcpu);
    EXPECT_EQ(statistics.read(), (Counters{{"exits", 5}, {"kicks", 9}}));
    EXPECT_EQ(statistics.read(), (Counters{{"exits", 5}, {"kicks", 9}}));
    EXPECT_EQ(kvm.count(KVM_GET_STATS_FD), 1u) << "a vCPU in KVM_RUN would not answer";
  }
  EXPECT_EQ(kvm.closed, std::vector<int>{7});
}

TEST_F(Statistics, WhatIsCutShortIsLeftOut) {
  kvm.file.resize(220);
  const KernelStatistics statistics(vcpu);
  EXPECT_EQ(statistics.read(), (Counters{{"exits", 5}}));
  kvm.file.resize(10);
  EXPECT_TRUE(statistics.read().empty());
}

TEST_F(Statistics, AKernelWithoutThemSaysNothing) {
  kvm.on(KVM_GET_STATS_FD, [](u64) { return -ENOTTY; });
  EXPECT_TRUE(KernelStatistics(vcpu).read().empty());
  EXPECT_TRUE(kvm.closed.empty());
}

}  // namespace
}  // namespace emu::accel
