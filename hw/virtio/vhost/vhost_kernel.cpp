// SPDX-License-Identifier: Apache-2.0
#include "hw/virtio/vhost/vhost_kernel.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include "hw/virtio/vhost/linux_vhost.h"
#include "hw/virtio/virtio_regs.h"

namespace emu::hw {

namespace {

class RealApi final : public VhostApi {
 public:
  int open_device(const std::string& path) override {
    const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
  }
  int call(int fd, unsigned long request, void* argument) override {
    const int result = ::ioctl(fd, request, argument);
    return result < 0 ? -errno : result;
  }
  void close(int fd) override { ::close(fd); }
};

/// struct vhost_memory with its list, which the kernel's header has as one of no known length.
struct MemoryTable {
  static constexpr unsigned kMost = 64;  // what every kernel takes (max_mem_regions)
  u32 count = 0, padding = 0;
  vhost_memory_region regions[kMost] = {};
};
static_assert(offsetof(MemoryTable, regions) == sizeof(vhost_memory));

/// The kernel makes and takes the header itself, where the interface has none: the bit that is ANY_LAYOUT to virtio.
constexpr u64 kMakesHeader = bit64(VHOST_NET_F_VIRTIO_NET_HDR);

}  // namespace

VhostApi& vhost_api() {
  static RealApi api;
  return api;
}

VhostKernel::~VhostKernel() {
  if (fd_ >= 0) api_.close(fd_);
}

Result<void> VhostKernel::prepare(int fd, const std::string& module) {
  fd_ = fd >= 0 ? fd : api_.open_device(name_);
  if (fd_ < 0) {
    const int failure = -std::exchange(fd_, -1);
    return error(Error(fmt::format("cannot open {}: {}", name_, std::strerror(failure)))
                     .with_hint(failure == EACCES || failure == EPERM
                                    ? "run with the right to use it"
                                    : "load the kernel's module: modprobe " + module));
  }
  EMU_TRY(require("VHOST_SET_OWNER", VHOST_SET_OWNER, nullptr));
  return require("VHOST_GET_FEATURES", VHOST_GET_FEATURES, &features_);
}

Result<void> VhostKernel::require(const char* what, unsigned long request, void* argument) const {
  const int result = api_.call(fd_, request, argument);
  if (result < 0) return error("{}: {}: {}", name_, what, std::strerror(-result));
  return {};
}

Result<void> VhostKernel::set_features(u64 features) {
  return require("VHOST_SET_FEATURES", VHOST_SET_FEATURES, &features);
}

Result<void> VhostKernel::set_memory(const VhostMemory& memory) {
  MemoryTable table;
  if (memory.regions().size() > MemoryTable::kMost) {
    return error("{}: the guest's memory has {} parts, and the kernel takes {}", name_, memory.regions().size(),
                 MemoryTable::kMost);
  }
  for (const VhostRegion& region : memory.regions()) {
    vhost_memory_region& told = table.regions[table.count++];
    told.guest_phys_addr = region.guest;
    told.memory_size = region.size;
    told.userspace_addr = region.user;
  }
  return require("VHOST_SET_MEM_TABLE", VHOST_SET_MEM_TABLE, &table);
}

Result<void> VhostKernel::set_ring(const Ring& ring) {
  vhost_vring_state state{ring.index, ring.size};
  EMU_TRY(require("VHOST_SET_VRING_NUM", VHOST_SET_VRING_NUM, &state));
  state.num = ring.base;
  EMU_TRY(require("VHOST_SET_VRING_BASE", VHOST_SET_VRING_BASE, &state));
  vhost_vring_addr address{};
  address.index = ring.index;
  address.desc_user_addr = ring.descriptors;
  address.avail_user_addr = ring.driver_area;
  address.used_user_addr = ring.device_area;
  EMU_TRY(require("VHOST_SET_VRING_ADDR", VHOST_SET_VRING_ADDR, &address));
  vhost_vring_file file{ring.index, ring.kick_fd};
  EMU_TRY(require("VHOST_SET_VRING_KICK", VHOST_SET_VRING_KICK, &file));
  file.fd = ring.call_fd;
  return require("VHOST_SET_VRING_CALL", VHOST_SET_VRING_CALL, &file);
}

Result<u32> VhostKernel::stop_ring(unsigned index) {
  vhost_vring_state state{index, 0};
  EMU_TRY(require("VHOST_GET_VRING_BASE", VHOST_GET_VRING_BASE, &state));
  return state.num;
}

// Network. -----------------------------------------------------------------------------------------------------------

Result<std::unique_ptr<VhostKernelNet>> VhostKernelNet::open(VhostApi& api, int fd, int tap_fd, bool tap_has_header) {
  std::unique_ptr<VhostKernelNet> made(new VhostKernelNet(api, tap_fd, tap_has_header));
  EMU_TRY(made->prepare(fd, "vhost_net"));
  if (!tap_has_header && (made->VhostKernel::features() & kMakesHeader) == 0) {
    return error(Error("/dev/vhost-net needs an interface with vnet_hdr").with_hint("leave 'vnet_hdr=off' out"));
  }
  return made;
}

u64 VhostKernelNet::features() const { return VhostKernel::features() & ~kMakesHeader; }

Result<void> VhostKernelNet::set_features(u64 features) {
  return VhostKernel::set_features((features & ~kMakesHeader) | (tap_has_header_ ? 0 : kMakesHeader));
}

Result<void> VhostKernelNet::enable_ring(unsigned index, bool on) {
  vhost_vring_file file{index, on ? tap_fd_ : VHOST_FILE_UNBIND};
  return require("VHOST_NET_SET_BACKEND", VHOST_NET_SET_BACKEND, &file);
}

Result<u32> VhostKernelNet::stop_ring(unsigned index) {
  EMU_TRY(enable_ring(index, false));
  return VhostKernel::stop_ring(index);
}

// Sockets. -----------------------------------------------------------------------------------------------------------

Result<std::unique_ptr<VhostKernelVsock>> VhostKernelVsock::open(VhostApi& api, int fd, u64 guest_cid) {
  std::unique_ptr<VhostKernelVsock> made(new VhostKernelVsock(api));
  EMU_TRY(made->prepare(fd, "vhost_vsock"));
  const int result = api.call(made->descriptor(), VHOST_VSOCK_SET_GUEST_CID, &guest_cid);
  if (result == -EADDRINUSE) {
    return error(
        Error(fmt::format("guest-cid={} is another machine's already", guest_cid)).with_hint("choose another"));
  }
  if (result < 0) return error("/dev/vhost-vsock: VHOST_VSOCK_SET_GUEST_CID: {}", std::strerror(-result));
  return made;
}

Result<void> VhostKernelVsock::set_running(int on) const {
  return require("VHOST_VSOCK_SET_RUNNING", VHOST_VSOCK_SET_RUNNING, &on);
}

}  // namespace emu::hw
