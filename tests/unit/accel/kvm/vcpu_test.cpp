// SPDX-License-Identifier: Apache-2.0
// A vCPU's thread over a fake kernel: what it leaves KVM_RUN for, and how it is brought out of there.
#include "accel/kvm/vcpu.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>

#include "accel/kvm/kvm_accelerator.h"
#include "softmmu/memory/memory.h"
#include "target/x86/kvm/kvm_target.h"
#include "unit/accel/kvm/fake_cpu.h"

namespace emu::accel {
namespace {

using namespace std::chrono_literals;
using test::FakeKvm;

std::atomic<unsigned> signals_seen{0};
extern "C" void count_signal(int) { signals_seen.fetch_add(1); }

/// A machine of one vCPU with 64 KiB. KVM_RUN does what the test has put in `exits`; after those it stays, as for a
/// guest that halts, until it is called back.
class VcpuTest : public testing::Test, public AccelClient {
 protected:
  VcpuTest() {
    auto api = std::make_unique<FakeKvm>();
    kvm_ = api.get();
    test::take_vcpu_state(*kvm_);
    kvm_->take({KVM_SET_USER_MEMORY_REGION});
    kvm_->on(kGetSupportedCpuid, [](u64 argument) {
      reinterpret_cast<KvmCpuidHeader*>(argument)->nent = 0;
      return 0;
    });
    kvm_->on(KVM_CREATE_VCPU, [](u64) { return 102; });
    kvm_->on(KVM_RUN, [this](u64) { return enter(); });
    kvm_->on(KVM_GET_REGS, [this](u64 argument) {
      *reinterpret_cast<kvm_regs*>(argument) = registers_;
      return 0;
    });
    kvm_->on(KVM_GET_SREGS, [](u64 argument) {
      reinterpret_cast<kvm_sregs*>(argument)->cs.base = 0;  // the rest as it was put
      return 0;
    });
    kvm_->maps[0].resize(3 * 4096);
    {
      const mem::MachineLockScope lock(memory_.lock());
      ram_ = *memory_.make_ram("ram", 0x10000);
      root_->add(0, mem::Region::ram(memory_, "ram", ram_));
      second_ = mem::Region::ram(memory_, "second", *memory_.make_ram("second", 0x1000));
      root_->add(0x20000, second_);
      ports_root_->add(0x70, mem::Region::mmio(
                                 memory_, "port", 1, [](u64, unsigned) { return u64(0x5a); },
                                 [this](u64, u64 value, unsigned) { note(fmt::format("out {:#x}", value)); }));
      root_->add(0x30000, mem::Region::mmio(
                              memory_, "device", 8, [](u64 offset, unsigned) { return 0x11 * (offset + 1); },
                              [this](u64 offset, u64 value, unsigned bytes) {
                                note(fmt::format("store {}+{} {:#x}", offset, bytes, value));
                              }));
    }
    auto made = KvmAccelerator::create(std::move(api), std::make_unique<x86::KvmX86Target>(), {}, *this);
    EXPECT_TRUE(made) << made.error().message();
    accelerator_ = std::move(*made);
    const auto added = accelerator_->add_vcpu(cpu_.cpu, space_, &ports_);
    EXPECT_TRUE(added) << added.error().message();
  }
  ~VcpuTest() override {
    accelerator_->shut_down();
    accelerator_.reset();
  }

  kvm_run& run() { return *reinterpret_cast<kvm_run*>(kvm_->maps[0].data()); }
  bool is_called_back() { return __atomic_load_n(&run().immediate_exit, __ATOMIC_SEQ_CST) != 0; }
  int enter() {
    for (;;) {
      std::unique_lock hold(mutex_);
      auto& left = is_called_back() ? pieces_ : exits_;
      if (is_called_back() && left.empty()) return -EINTR;
      if (!left.empty()) {
        const auto next = left.front();
        left.pop_front();
        hold.unlock();
        next(run());
        return 0;
      }
      stays_ = true;
      changed_.notify_all();
      hold.unlock();
      std::this_thread::sleep_for(1ms);
    }
  }
  void note(const std::string& what) {
    const std::lock_guard hold(mutex_);
    seen_.push_back(what);
    changed_.notify_all();
  }
  /// Until it stays in KVM_RUN.
  bool wait_until_it_stays() {
    std::unique_lock hold(mutex_);
    return changed_.wait_for(hold, 30s, [this] { return stays_; });
  }
  bool wait_for(size_t count) {
    std::unique_lock hold(mutex_);
    return changed_.wait_for(hold, 30s, [&] { return seen_.size() >= count; });
  }

  // AccelClient
  void vcpu_shut_down(target::Vcpu&, const std::string& why) override { note("shut down: " + why); }
  void vcpu_failed(target::Vcpu&, const std::string& why) override { note("failed: " + why); }
  u64 guest_ns() override { return 0; }

  FakeKvm* kvm_ = nullptr;  ///< the accelerator's
  test::Cpu cpu_{"qemu64"};
  mem::Memory memory_;
  mem::RegionRef root_ = mem::Region::container(memory_, "root", mem::kWholeAddressSpace), second_;
  mem::RegionRef ports_root_ = mem::Region::container(memory_, "ports", 0x10000);
  mem::AddressSpace space_{memory_, "cpu", root_}, ports_{memory_, "ports", ports_root_};
  mem::RamRef ram_;
  kvm_regs registers_{};
  std::mutex mutex_;  // the next three lines
  std::condition_variable changed_;
  std::deque<std::function<void(kvm_run&)>> exits_, pieces_;  ///< pieces: of an instruction, when called back
  std::vector<std::string> seen_;
  bool stays_ = false;
  std::unique_ptr<KvmAccelerator> accelerator_;
};

TEST_F(VcpuTest, PortsAndDeviceMemoryAreReached) {
  constexpr u64 kData = 4096;
  exits_ = {[](kvm_run& run) {  // two bytes at once, as rep outsb makes them
              run.exit_reason = KVM_EXIT_IO;
              run.io.direction = KVM_EXIT_IO_OUT;
              run.io.size = 1;
              run.io.port = 0x70;
              run.io.count = 2;
              run.io.data_offset = kData;
              std::memcpy(reinterpret_cast<u8*>(&run) + kData, "\x12\x34", 2);
            },
            [](kvm_run& run) {
              run.exit_reason = KVM_EXIT_IO;
              run.io.direction = KVM_EXIT_IO_IN;
              run.io.count = 1;
            },
            [this](kvm_run& run) {
              note(fmt::format("in {:#x}", reinterpret_cast<u8*>(&run)[kData]));
              run.exit_reason = KVM_EXIT_MMIO;
              run.mmio.phys_addr = 0x30002;
              run.mmio.len = 2;
              run.mmio.is_write = 1;
              std::memcpy(run.mmio.data, "\xcd\xab", 2);
            },
            [](kvm_run& run) {
              run.mmio.phys_addr = 0x30000;
              run.mmio.len = 1;
              run.mmio.is_write = 0;
            },
            [this](kvm_run& run) {
              note(fmt::format("load {:#x}", run.mmio.data[0]));
              run.exit_reason = KVM_EXIT_INTR;
            }};
  accelerator_->resume_all();
  ASSERT_TRUE(wait_until_it_stays());
  EXPECT_EQ(seen_, (std::vector<std::string>{"out 0x12", "out 0x34", "in 0x5a", "store 2+2 0xabcd", "load 0x11"}));
}

TEST_F(VcpuTest, AnInstructionOfManyPiecesIsDoneBeforeTheVcpuStands) {
  const auto store = [](kvm_run& run) {
    run.exit_reason = KVM_EXIT_MMIO;
    run.mmio.phys_addr = 0x30000;
    run.mmio.len = 1;
    run.mmio.is_write = 1;
  };
  exits_ = {[this, store](kvm_run& run) {
    accelerator_->request_pause_all();
    store(run);
  }};
  pieces_.assign(1500, store);
  accelerator_->resume_all();
  ASSERT_TRUE(wait_for(1));
  accelerator_->pause_all();
  EXPECT_EQ(seen_.size(), 1501u);
  EXPECT_TRUE(pieces_.empty());
}

TEST_F(VcpuTest, AnEmulationFailureShowsTheInstructionAndTheRegisters) {
  const u8 code[] = {0x66, 0x0f, 0xef, 0xc1};  // pxor xmm0, xmm1
  ram_->write(0x500, code, sizeof code);
  registers_.rip = 0x500;
  registers_.rax = 0x1234567;
  exits_ = {[](kvm_run& run) {
    run.exit_reason = KVM_EXIT_INTERNAL_ERROR;
    run.internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
    run.internal.ndata = 1;
    run.internal.data[0] = 0x77;
  }};
  accelerator_->resume_all();
  ASSERT_TRUE(wait_for(1));
  accelerator_->pause_all();
  ASSERT_EQ(seen_.size(), 1u);
  EXPECT_TRUE(seen_[0].starts_with("failed: KVM cannot emulate the instruction, data 0x77\nat 0x500: 66 0f ef c1 "))
      << seen_[0];
  EXPECT_NE(seen_[0].find("pxor"), std::string::npos) << seen_[0];
  EXPECT_NE(seen_[0].find("1234567"), std::string::npos) << "EAX: " << seen_[0];
  EXPECT_NE(seen_[0].find("CR0="), std::string::npos) << seen_[0];
}

TEST_F(VcpuTest, OtherFailuresSayWhatTheKernelSaid) {
  const auto fails_with = [this](const std::string& text, std::function<void(kvm_run&)> exit) {
    seen_.clear();
    exits_ = {std::move(exit)};
    accelerator_->resume_all();
    EXPECT_TRUE(wait_for(1));
    accelerator_->pause_all();
    EXPECT_NE(seen_.at(0).find(text), std::string::npos) << seen_.at(0);
  };
  fails_with("refuses to enter the guest, reason 0x80000021", [](kvm_run& run) {
    run.exit_reason = KVM_EXIT_FAIL_ENTRY;
    run.fail_entry.hardware_entry_failure_reason = 0x80000021;
  });
  fails_with("does not know, hardware reason 0x30", [](kvm_run& run) {
    run.exit_reason = KVM_EXIT_UNKNOWN;
    run.hw.hardware_exit_reason = 0x30;
  });
  fails_with("an exit of KVM's that this program does not know: 38", [](kvm_run& run) { run.exit_reason = 38; });
  fails_with("shut down: ", [](kvm_run& run) { run.exit_reason = KVM_EXIT_SHUTDOWN; });
}

/// Signals of the kind that kicks are queue. Somebody who waits for a vCPU to come out may not send one each time that
/// he looks: a thread slower than that would never be done with them.
TEST_F(VcpuTest, ASlowVcpuIsSignalledOnceWhenSlotsChange) {
  struct sigaction action {};
  action.sa_handler = count_signal;
  ASSERT_EQ(::sigaction(SIGRTMIN + 3, &action, nullptr), 0);
  accelerator_->resume_all();
  ASSERT_TRUE(wait_until_it_stays());
  {
    const std::lock_guard hold(mutex_);  // it looks only every now and then whether it is called back
    exits_ = {[](kvm_run& run) {
      run.exit_reason = KVM_EXIT_INTR;
      const auto end = std::chrono::steady_clock::now() + 50ms;
      while (std::chrono::steady_clock::now() < end) std::this_thread::yield();
    }};
  }
  std::this_thread::sleep_for(10ms);
  signals_seen = 0;
  {
    const mem::MachineLockScope lock(memory_.lock());
    root_->remove(*second_);
  }
  EXPECT_GE(signals_seen.load(), 1u);
  EXPECT_LE(signals_seen.load(), 3u);
  EXPECT_EQ(accelerator_->slots().slots().size(), 1u);
  install_kick_signal();
}

/// The kernel answers most requests to a vCPU only when that is out of KVM_RUN: asked from another thread they would
/// wait for as long as a guest halts.
TEST_F(VcpuTest, NobodyElseAsksTheKernelAboutAVcpuThatRuns) {
  accelerator_->resume_all();
  ASSERT_TRUE(wait_until_it_stays());
  const auto asked = [this] { return std::ranges::count(kvm_->calls, 102, &std::pair<int, unsigned long>::first); };
  const auto before = asked();
  EXPECT_NE(accelerator_->statistics().find("vCPU 0\n"), std::string::npos);
  static_cast<void>(accelerator_->dump_tlb(0));
  EXPECT_EQ(asked(), before);
}

TEST_F(VcpuTest, AThousandStartsAndStopsLeaveTheKernelWithWhatItHad) {
  accelerator_->resume_all();
  ASSERT_TRUE(wait_until_it_stays());
  accelerator_->pause_all();
  const size_t slots = kvm_->count(KVM_SET_USER_MEMORY_REGION);
  for (int i = 0; i < 1000; ++i) {
    accelerator_->resume_all();
    accelerator_->pause_all();
  }
  EXPECT_EQ(kvm_->count(KVM_SET_USER_MEMORY_REGION), slots);
  EXPECT_EQ(kvm_->count(KVM_CREATE_VCPU), 1u);
  EXPECT_EQ(kvm_->count(KVM_GET_STATS_FD), 2u) << "the machine's and the vCPU's";
}

}  // namespace
}  // namespace emu::accel
