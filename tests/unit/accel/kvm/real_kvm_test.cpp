// SPDX-License-Identifier: Apache-2.0
// KVM's parts that need a kernel: small guests in real mode, on this host's /dev/kvm. Where there is none the tests are
// skipped.
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <mutex>

#include "accel/kvm/kvm_accelerator.h"
#include "softmmu/memory/memory.h"
#include "target/x86/kvm/kvm_target.h"
#include "target/x86/translate.h"
#include "util/event_notifier.h"

namespace emu::accel {
namespace {

using namespace std::chrono_literals;

constexpr u16 kPlainPort = 0x520, kBellPort = 0x510;
constexpr u64 kDevice = 0x10000;

/// One vCPU of 64 KiB, which begins at 0x500; a device in memory and one in ports that note what is written to them.
class RealKvm : public testing::Test, public AccelClient {
 protected:
  void SetUp() override {
    if (::access("/dev/kvm", R_OK | W_OK) != 0) GTEST_SKIP() << "cannot run here: no /dev/kvm, or no rights to use it";
    const mem::MachineLockScope lock(memory_.lock());
    ram_ = *memory_.make_ram("ram", 0x10000);
    root_->add(0, mem::Region::ram(memory_, "ram", ram_));
    root_->add(0xffff0000, mem::Region::alias(memory_, "reset", root_->children().front(), 0, 0x10000));
    const auto note = [this](const char* where) {
      return [this, where](u64 offset, u64 value, unsigned) {
        const std::lock_guard hold(mutex_);
        seen_.push_back(fmt::format("{}+{}={:x}", where, offset, value));
        changed_.notify_all();
      };
    };
    device_ = mem::Region::mmio(memory_, "device", 0x1000, {}, note("device"));
    bell_ = mem::Region::mmio(memory_, "bell", 1, {}, note("bell"));
    root_->add(kDevice, device_);
    port_root_->add(kBellPort, bell_);
    port_root_->add(kPlainPort, mem::Region::mmio(memory_, "plain", 1, {}, note("plain")));
    place(0xfff0, {0xea, 0x00, 0x05, 0x00, 0x00});  // jmp 0:0x500
  }
  void TearDown() override {
    if (accelerator_ != nullptr) accelerator_->shut_down();
    accelerator_.reset();
  }

  /// False: skipped.
  bool create(const KvmOptions& options) {
    auto made = x86::make_kvm_accelerator(options, *this);
    if (!made) {
      reason_ = made.error().message();
      return false;
    }
    accelerator_ = std::move(*made);
    cpu_ = std::make_unique<x86::X86Cpu>(x86::CpuConfig{.index = 0, .apic_id = 0, .topology = {}, .model = model_},
                                         translator_);
    const auto added = accelerator_->add_vcpu(*cpu_, space_, &ports_);
    EXPECT_TRUE(added) << added.error().message();
    return added.has_value();
  }
  void place(u64 at, std::initializer_list<u8> code) { ram_->write(at, code.begin(), code.size()); }
  bool wait_for(size_t count) {
    std::unique_lock hold(mutex_);
    return changed_.wait_for(hold, 30s, [&] { return seen_.size() >= count; });
  }
  static bool is_set(const EventNotifier& event) {
    pollfd poll{event.fd(), POLLIN, 0};
    return ::poll(&poll, 1, 10000) == 1 && event.test_and_clear();
  }
  target::InterruptChips& chips() { return accelerator_->acceleration()->chips(); }

  // AccelClient
  void vcpu_shut_down(target::Vcpu&, const std::string& why) override {
    const std::lock_guard hold(mutex_);
    seen_.push_back(why);
    changed_.notify_all();
  }
  u64 guest_ns() override { return 0; }

  mem::Memory memory_;
  mem::RegionRef root_ = mem::Region::container(memory_, "root", mem::kWholeAddressSpace);
  mem::RegionRef port_root_ = mem::Region::container(memory_, "ports", 0x10000);
  mem::AddressSpace space_{memory_, "cpu", root_}, ports_{memory_, "ports", port_root_};
  mem::RamRef ram_;
  mem::RegionRef device_, bell_;
  x86::CpuModel model_ = *x86::parse_cpu_option("qemu64");
  x86::X86Translator translator_{x86::make_helper_table(), x86::insn_features(model_.features)};
  std::unique_ptr<x86::X86Cpu> cpu_;  ///< outlives the accelerator that runs it
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> seen_;
  std::string reason_;
  std::unique_ptr<Accelerator> accelerator_;
};

TEST_F(RealKvm, DoorbellsAndCoalescedWritesStayInTheKernelAndKeepTheirOrder) {
  place(0x500, {0xb8, 0x00, 0x10, 0x8e, 0xd8,        // mov ax, 0x1000; mov ds, ax
                0xba, 0x10, 0x05, 0xb0, 0x07, 0xee,  // mov dx, bell; mov al, 7; out dx, al
                0xc6, 0x06, 0x00, 0x00, 0x11,        // mov byte [0], 0x11
                0xc6, 0x06, 0x01, 0x00, 0x22,        // mov byte [1], 0x22
                0xba, 0x20, 0x05, 0xee,              // mov dx, plain; out dx, al
                0xb0, 0x08, 0xba, 0x10, 0x05, 0xee,  // mov al, 8; mov dx, bell; out dx, al: another value
                0xf4, 0xeb, 0xfd});                  // hlt
  ASSERT_TRUE(create({})) << reason_;
  const auto event = EventNotifier::create();
  target::DeviceWrites* writes = accelerator_->acceleration()->device_writes();
  ASSERT_NE(writes, nullptr);
  {
    const mem::MachineLockScope lock(memory_.lock());
    writes->add_doorbell(*bell_, {.offset = 0, .bytes = 1, .value = 7, .event_fd = event->fd()});
    writes->coalesce(*device_);
  }
  accelerator_->resume_all();
  ASSERT_TRUE(wait_for(4));
  EXPECT_TRUE(is_set(*event));
  EXPECT_EQ(seen_, (std::vector<std::string>{"device+0=11", "device+1=22", "plain+0=7", "bell+0=8"}));
  EXPECT_NE(accelerator_->statistics().find("doorbells 1\n"), std::string::npos) << accelerator_->statistics();
}

TEST_F(RealKvm, ARegionThatGoesTakesItsDoorbellAlong) {
  place(0x500, {0xba, 0x10, 0x05, 0xb0, 0x07, 0xee,                    // out to the bell
                0xba, 0x20, 0x05, 0xee, 0xf4, 0xeb, 0xfd});            // out to plain; hlt
  ASSERT_TRUE(create({})) << reason_;
  {
    const auto event = EventNotifier::create();
    const mem::MachineLockScope lock(memory_.lock());
    accelerator_->acceleration()->device_writes()->add_doorbell(*bell_,
                                                                {.bytes = 1, .value = 7, .event_fd = event->fd()});
  }
  {
    const mem::MachineLockScope lock(memory_.lock());
    port_root_->remove(*bell_);
  }
  EXPECT_NE(accelerator_->statistics().find("doorbells 0\n"), std::string::npos);
  {
    const mem::MachineLockScope lock(memory_.lock());
    port_root_->add(kBellPort + 0x100, bell_);
    port_root_->add(kBellPort, mem::Region::mmio(memory_, "other", 1, {}, [this](u64, u64, unsigned) {
                      const std::lock_guard hold(mutex_);
                      seen_.push_back("other");
                    }));
  }
  accelerator_->resume_all();
  ASSERT_TRUE(wait_for(2));
  EXPECT_EQ(seen_, (std::vector<std::string>{"other", "plain+0=7"}));
}

TEST_F(RealKvm, DirtyPagesComeFromRingsAndFromBitmaps) {
  place(0x500, {0xa2, 0x00, 0x20, 0xa2, 0x08, 0x30,          // mov [0x2000], al; mov [0x3008], al
                0xba, 0x20, 0x05, 0xee, 0xf4, 0xeb, 0xfd});  // out to plain; hlt
  for (const u32 entries : {0u, 1024u}) {
    SCOPED_TRACE(entries);
    seen_.clear();
    if (!create({.dirty_ring_entries = entries})) {
      EXPECT_NE(entries, 0u) << reason_;
      GTEST_SKIP() << "cannot run here: " << reason_;
    }
    ram_->set_logging(mem::DirtyClient::Display, true);
    ram_->take_dirty(mem::DirtyClient::Display, 0, ram_->size(), [](u64, u64) {});
    accelerator_->resume_all();
    ASSERT_TRUE(wait_for(1));
    std::vector<std::pair<u64, u64>> runs;
    ram_->take_dirty(mem::DirtyClient::Display, 0, ram_->size(),
                     [&](u64 at, u64 bytes) { runs.emplace_back(at, bytes); });
    EXPECT_EQ(runs, (std::vector<std::pair<u64, u64>>{{0x2000, 0x2000}}));
    runs.clear();
    ram_->take_dirty(mem::DirtyClient::Display, 0, ram_->size(),
                     [&](u64 at, u64 bytes) { runs.emplace_back(at, bytes); });
    EXPECT_TRUE(runs.empty()) << "taken once";
    ram_->set_logging(mem::DirtyClient::Display, false);
    accelerator_->shut_down();
    accelerator_.reset();
  }
}

TEST_F(RealKvm, AnEventSendsItsMessageToTheKernelsLocalApic) {
  place(0x500, {0xba, 0x20, 0x05, 0xb0, 0x01, 0xee, 0xfb, 0xf4, 0xeb, 0xfd});  // out 1 to plain; sti; hlt
  place(0x600, {0xba, 0x20, 0x05, 0xb0, 0x40, 0xee, 0xf4});  // vector 0x40: out 0x40 to plain; hlt
  place(0x40 * 4, {0x00, 0x06, 0x00, 0x00});
  if (!create({.chips = KernelChips::Split})) GTEST_SKIP() << "cannot run here: " << reason_;
  chips().reset();
  chips().configure_as_firmware(0);  // the local APIC is on
  const auto event = EventNotifier::create();
  auto interrupt = chips().on_event_send(event->fd(), 0xfee00000, 0x41);
  ASSERT_TRUE(interrupt) << interrupt.error().message();
  ASSERT_TRUE((*interrupt)->set_message(0xfee00000, 0x40)) << "the vector that has a handler";
  EXPECT_FALSE(chips().on_event_raise(event->fd(), -1, 5)) << "the pins are not the kernel's";
  accelerator_->resume_all();
  ASSERT_TRUE(wait_for(1)) << "the local APIC is on from here";
  event->notify();
  ASSERT_TRUE(wait_for(2));
  EXPECT_EQ(seen_, (std::vector<std::string>{"plain+0=1", "plain+0=40"}));
  interrupt->reset();
}

TEST_F(RealKvm, ALevelTriggeredPinFallsWhenTheGuestEndsTheInterrupt) {
  place(0x500, {0xb0, 0x11, 0xe6, 0x20, 0xb0, 0x08, 0xe6, 0x21, 0xb0, 0x04, 0xe6, 0x21,  // 8259: vectors from 8
                0xb0, 0x01, 0xe6, 0x21, 0xb0, 0xdf, 0xe6, 0x21, 0xfb, 0xf4, 0xeb, 0xfd});  // pin 5 alone; sti; hlt
  place(0x600,
        {0xba, 0x20, 0x05, 0xb0, 0x0d, 0xee, 0xb0, 0x20, 0xe6, 0x20, 0xfb, 0xf4, 0xeb, 0xfd});  // out; end; sti; hlt
  place(0x0d * 4, {0x00, 0x06, 0x00, 0x00});
  if (!create({.chips = KernelChips::On})) GTEST_SKIP() << "cannot run here: " << reason_;
  chips().reset();
  chips().configure_as_firmware(1 << 5);
  const auto event = EventNotifier::create(), ended = EventNotifier::create();
  auto interrupt = chips().on_event_raise(event->fd(), ended->fd(), 5);
  if (!interrupt) GTEST_SKIP() << "cannot run here: " << interrupt.error().message();
  accelerator_->resume_all();
  for (size_t round = 1; round <= 3; ++round) {
    event->notify();
    ASSERT_TRUE(wait_for(round)) << round;
    EXPECT_TRUE(is_set(*ended)) << round;
  }
  EXPECT_EQ(seen_.size(), 3u) << "once an event";
}

size_t open_descriptors() {
  using std::filesystem::directory_iterator;
  return size_t(std::distance(directory_iterator("/proc/self/fd"), directory_iterator()));
}

TEST_F(RealKvm, AThousandStartsAndStopsLeakNoDescriptorAndNoSlot) {
  place(0x500, {0xff, 0x06, 0x00, 0x20, 0xeb, 0xfa});  // inc word [0x2000]; again
  ASSERT_TRUE(create({})) << reason_;
  accelerator_->resume_all();
  accelerator_->pause_all();
  const size_t before = open_descriptors();
  const auto slots = [this] {
    return accelerator_->statistics().substr(0, accelerator_->statistics().find("\ncoalesced"));
  };
  const std::string slots_before = slots();
  for (int i = 0; i < 1000; ++i) {
    accelerator_->resume_all();
    accelerator_->pause_all();
  }
  EXPECT_EQ(open_descriptors(), before);
  EXPECT_EQ(slots(), slots_before);
}

TEST_F(RealKvm, AcceleratorsThatComeAndGoLeakNoDescriptor) {
  place(0x500, {0xba, 0x20, 0x05, 0xee, 0xf4, 0xeb, 0xfd});
  size_t before = 0;
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(create({})) << reason_;
    if (i % 10 == 0) {
      seen_.clear();
      accelerator_->resume_all();
      ASSERT_TRUE(wait_for(1));
    }
    accelerator_->shut_down();
    accelerator_.reset();
    if (i == 0) before = open_descriptors();
  }
  EXPECT_EQ(open_descriptors(), before);
}

}  // namespace
}  // namespace emu::accel
