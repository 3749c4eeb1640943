// SPDX-License-Identifier: Apache-2.0
// The kernel's vhost over a fake of its system calls.
#include "hw/virtio/vhost/vhost_kernel.h"

#include <gmock/gmock.h>

#include <cerrno>

#include "hw/virtio/vhost/linux_vhost.h"
#include "hw/virtio/vhost/vhost_net.h"
#include "hw/virtio/vhost/vhost_vsock.h"
#include "net/register.h"
#include "qom/user_creatable.h"
#include "vhost_bench.h"

namespace emu::hw {
namespace {

using namespace virtio;
using test::kBenchRam;
using test::VhostBench;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class FakeKernel final : public VhostApi {
 public:
  int open_device(const std::string& path) override {
    if (open_failure != 0) return -open_failure;
    calls.push_back("open " + path);
    ++open_descriptors;
    return 1000;
  }
  void close(int fd) override {
    EXPECT_EQ(fd, 1000);
    --open_descriptors;
  }
  int call(int, unsigned long request, void* argument) override {
    if (request == fail_at) return -failure;
    const auto* state = static_cast<const vhost_vring_state*>(argument);
    const auto* file = static_cast<const vhost_vring_file*>(argument);
    switch (request) {
      case VHOST_SET_OWNER: calls.push_back("owner"); break;
      case VHOST_GET_FEATURES: *static_cast<u64*>(argument) = features; break;
      case VHOST_SET_FEATURES: calls.push_back(fmt::format("features {:#x}", *static_cast<u64*>(argument))); break;
      case VHOST_SET_MEM_TABLE: {
        const auto* table = static_cast<const vhost_memory*>(argument);
        calls.push_back(fmt::format("memory {}", table->nregions));
        if (table->nregions != 0) memory = table->regions[0];
        break;
      }
      case VHOST_SET_VRING_NUM: calls.push_back(fmt::format("num {} {}", state->index, state->num)); break;
      case VHOST_SET_VRING_BASE: calls.push_back(fmt::format("base {} {}", state->index, state->num)); break;
      case VHOST_SET_VRING_ADDR: {
        const auto* address = static_cast<const vhost_vring_addr*>(argument);
        calls.push_back(fmt::format("addr {} {:#x}", address->index, address->desc_user_addr - memory.userspace_addr));
        break;
      }
      case VHOST_SET_VRING_KICK: calls.push_back(fmt::format("kick {}", file->index)); break;
      case VHOST_SET_VRING_CALL: calls.push_back(fmt::format("call {}", file->index)); break;
      case VHOST_NET_SET_BACKEND: calls.push_back(fmt::format("backend {} {}", file->index, file->fd)); break;
      case VHOST_GET_VRING_BASE:
        calls.push_back(fmt::format("get base {}", state->index));
        static_cast<vhost_vring_state*>(argument)->num = base;
        break;
      case VHOST_VSOCK_SET_GUEST_CID: calls.push_back(fmt::format("cid {}", *static_cast<u64*>(argument))); break;
      case VHOST_VSOCK_SET_RUNNING: calls.push_back(fmt::format("running {}", *static_cast<int*>(argument))); break;
      default: ADD_FAILURE() << "request " << request;
    }
    return 0;
  }
  std::vector<std::string> take() { return std::exchange(calls, {}); }

  u64 features = kFeatureVersion1 | kFeatureEventIdx | kFeatureIndirectDesc | bit64(VHOST_NET_F_VIRTIO_NET_HDR);
  int open_failure = 0, failure = EINVAL, open_descriptors = 0;
  unsigned long fail_at = 0;
  u32 base = 0;
  vhost_memory_region memory{};
  std::vector<std::string> calls;
};

class VhostVsockTest : public testing::Test {
 protected:
  Result<VhostVsock*> make(u64 cid = 3) {
    return bench.plug<VhostVsock>({{"guest-cid", cid}}, [this](VhostVsock& made) { made.use_api(kernel); });
  }
  VhostVsockTest() { kernel.features &= ~bit64(VHOST_NET_F_VIRTIO_NET_HDR); }
  FakeKernel kernel;
  VhostBench bench{VhostBench::Ram::Private};
};

TEST_F(VhostVsockTest, RingsAreGivenInTheKernelsOrder) {
  auto made = make(7);
  ASSERT_TRUE(made.has_value()) << made.error().text();
  EXPECT_THAT(kernel.take(), ElementsAre("open /dev/vhost-vsock", "owner", "cid 7"));
  EXPECT_EQ((*made)->read_config(0, 8), 7u);
  bench.start();
  EXPECT_THAT(kernel.take(),
              ElementsAre("features 0x130000000", "memory 1", "num 0 128", "base 0 0", "addr 0 0x800000", "kick 0",
                          "call 0", "num 1 128", "base 1 0", "addr 1 0x840000", "kick 1", "call 1", "running 1"));
  EXPECT_EQ(kernel.memory.guest_phys_addr, 0u);
  EXPECT_EQ(kernel.memory.memory_size, kBenchRam);
  bench.set_running(false);
  EXPECT_THAT(kernel.take(), ElementsAre("running 0", "get base 0", "get base 1"));
  bench.unplug();
  EXPECT_EQ(kernel.open_descriptors, 0);
}

TEST_F(VhostVsockTest, ABaseThatCannotBeIsNotBelieved) {
  ASSERT_TRUE(make().has_value());
  bench.start();
  kernel.base = 500;  // the ring has 128 entries, and nothing was used
  bench.set_running(false);
  EXPECT_EQ(bench.device->queue(0)->place()->avail.index, 0);
  kernel.take();
  bench.set_running(true);
  EXPECT_THAT(kernel.take(), ::testing::Contains("base 0 0"));
}

TEST_F(VhostVsockTest, WithoutTheModuleTheErrorNamesIt) {
  kernel.open_failure = ENOENT;
  auto made = make();
  ASSERT_FALSE(made.has_value());
  EXPECT_THAT(made.error().text(), HasSubstr("cannot open /dev/vhost-vsock: No such file or directory"));
  EXPECT_EQ(made.error().hint(), "load the kernel's module: modprobe vhost_vsock");
}

TEST_F(VhostVsockTest, AnAddressInUseIsNamed) {
  kernel.fail_at = VHOST_VSOCK_SET_GUEST_CID;
  kernel.failure = EADDRINUSE;
  auto made = make();
  ASSERT_FALSE(made.has_value());
  EXPECT_THAT(made.error().text(), HasSubstr("guest-cid=3 is another machine's already"));
  EXPECT_EQ(kernel.open_descriptors, 0);
}

TEST_F(VhostVsockTest, AddressesThatNoGuestMayHaveAreRefused) {
  EXPECT_FALSE(make(2).has_value());
  EXPECT_FALSE(make(0xffff'ffff).has_value());
}

TEST_F(VhostVsockTest, AKernelThatRefusesBreaksTheDevice) {
  ASSERT_TRUE(make().has_value());
  kernel.fail_at = VHOST_SET_VRING_ADDR;
  bench.start();
  EXPECT_TRUE(bench.needs_reset());
}

// Network. -----------------------------------------------------------------------------------------------------------

/// An interface of the kernel's that is none.
class FakeInterface final : public net::NetClient {
 public:
  explicit FakeInterface(EventLoop& event_loop) : loop_(event_loop) {}
  std::string kind() const override { return "tap"; }
  EventLoop& loop() const override { return loop_; }
  net::VhostOffer* vhost_offer() override { return &offer; }
  std::optional<net::HostInterface> host_interface() const override { return net::HostInterface{55, has_header}; }
  void lend_interface(bool now) override { lent = now; }
  void set_interface_header(std::size_t bytes) override { header = bytes; }

  net::VhostOffer offer;
  bool has_header = true, lent = false;
  std::size_t header = 0;

 protected:
  bool receive(const net::Packet&) override { return true; }

 private:
  EventLoop& loop_;
};

/// A device with a pair of queues, as far as this is about.
class PairDevice final : public VirtioDevice {
 public:
  static constexpr const char* kDeviceType = "pair-device";
  PairDevice() : VirtioDevice(DeviceId::Net, 8) {}
  static void describe(TypeInfo<PairDevice>& type) { type.doc("for tests"); }
  Result<void> realize() override {
    vhost = EMU_TRY(VhostNet::open(*interface, {*this, transport(), machine(), "card", [](bool) {}}, *kernel));
    add_outside_queue(256);
    add_outside_queue(256);
    if (vhost != nullptr) EMU_TRY(vhost->serve());
    return {};
  }
  void unrealize() override { vhost.reset(); }
  u16 pci_class() const override { return 0x0200; }
  u64 device_features() const override { return 0; }
  void fill_config(std::span<u8>) const override {}
  void handle_queue(unsigned) override {}
  u64 limit_features(u64 features) const override { return vhost != nullptr ? vhost->limit(features) : features; }
  void serving_starts() override { vhost->start(accepted_features(), 12, 1); }
  void serving_ends() override { vhost->stop(); }

  FakeInterface* interface = nullptr;
  FakeKernel* kernel = nullptr;
  std::unique_ptr<VhostNet> vhost;
};

class VhostKernelNetTest : public testing::Test {
 protected:
  Result<PairDevice*> make() {
    return bench.plug<PairDevice>({}, [this](PairDevice& device) {
      device.interface = &interface;
      device.kernel = &kernel;
    });
  }
  FakeKernel kernel;
  EventLoop wire;
  FakeInterface interface{wire};
  VhostBench bench{VhostBench::Ram::Private};
};

TEST_F(VhostKernelNetTest, TheInterfaceIsLentAndBound) {
  ASSERT_TRUE(make().has_value());
  EXPECT_TRUE(interface.lent);
  bench.start();
  EXPECT_EQ(interface.header, 12u);
  EXPECT_THAT(kernel.take(),
              ElementsAre("open /dev/vhost-net", "owner", "features 0x130000000", "memory 1", "num 0 256", "base 0 0",
                          "addr 0 0x800000", "kick 0", "call 0", "num 1 256", "base 1 0", "addr 1 0x840000", "kick 1",
                          "call 1", "backend 0 55", "backend 1 55"));
  bench.set_running(false);
  EXPECT_THAT(kernel.take(), ElementsAre("backend 0 -1", "get base 0", "backend 1 -1", "get base 1"));
  bench.unplug();
  EXPECT_FALSE(interface.lent);
  EXPECT_EQ(kernel.open_descriptors, 0);
}

TEST_F(VhostKernelNetTest, WithoutAHeaderTheKernelMakesOne) {
  interface.has_header = false;
  ASSERT_TRUE(make().has_value());
  bench.start();
  EXPECT_THAT(kernel.take(), ::testing::Contains("features 0x138000000"));
}

TEST_F(VhostKernelNetTest, ADescriptorOfSomebodyElsesIsUsed) {
  interface.offer.fds.emplace_back(1000);
  ASSERT_TRUE(make().has_value());
  EXPECT_THAT(kernel.take(), ElementsAre("owner"));
  kernel.open_descriptors = 1;
}

TEST_F(VhostKernelNetTest, WithoutTheModuleTheCardGoesOn) {
  interface.offer.required = false;
  kernel.open_failure = ENOENT;
  auto made = make();
  ASSERT_TRUE(made.has_value()) << made.error().text();
  EXPECT_EQ((*made)->vhost, nullptr);
  EXPECT_FALSE(interface.lent);
}

TEST_F(VhostKernelNetTest, WithoutTheModuleAndWithForceTheErrorNamesIt) {
  kernel.open_failure = ENOENT;
  auto made = make();
  ASSERT_FALSE(made.has_value());
  EXPECT_THAT(made.error().text(), HasSubstr("cannot open /dev/vhost-net"));
  EXPECT_EQ(made.error().hint(), "load the kernel's module: modprobe vhost_net");
}

}  // namespace
}  // namespace emu::hw
