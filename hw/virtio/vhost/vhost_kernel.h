// SPDX-License-Identifier: Apache-2.0
// A back end in the kernel: /dev/vhost-net, /dev/vhost-vsock. linux/vhost.h.
#pragma once

#include <memory>
#include <string>

#include "hw/virtio/vhost/vhost_backend.h"
#include "util/types.h"

namespace emu::hw {

/// The system calls that reach the kernel's vhost, and nothing else, so that a test can stand in for it. Failures are
/// negative error numbers.
class VhostApi {
 public:
  virtual ~VhostApi() = default;
  virtual int open_device(const std::string& path) = 0;
  virtual int call(int fd, unsigned long request, void* argument) = 0;
  virtual void close(int fd) = 0;
};
/// The real one.
VhostApi& vhost_api();

/// What all kinds have in common; the derived classes know how rings are switched on.
class VhostKernel : public VhostBackend {
 public:
  ~VhostKernel() override;
  VhostKernel(const VhostKernel&) = delete;
  VhostKernel& operator=(const VhostKernel&) = delete;

  std::string name() const override { return name_; }
  u64 features() const override { return features_; }
  unsigned most_rings() const override { return 2; }
  bool maps_memory() const override { return false; }
  Result<void> set_features(u64 features) override;
  Result<void> set_memory(const VhostMemory& memory) override;
  Result<void> set_ring(const Ring& ring) override;
  Result<void> enable_ring(unsigned, bool) override { return {}; }
  Result<u32> stop_ring(unsigned index) override;

 protected:
  VhostKernel(VhostApi& api, std::string name) : api_(api), name_(std::move(name)) {}
  /// `fd` -1: opens the device. `module`: for what the error says.
  Result<void> prepare(int fd, const std::string& module);
  Result<void> require(const char* what, unsigned long request, void* argument) const;
  int descriptor() const { return fd_; }

 private:
  VhostApi& api_;
  const std::string name_;  ///< also the device's path
  int fd_ = -1;
  u64 features_ = 0;
};

/// One queue pair of a network card: ring 0 receives, ring 1 sends.
class VhostKernelNet final : public VhostKernel {
 public:
  /// `fd`: opened by somebody else, and ours from here on, whatever comes; -1: none. `tap_fd` stays the caller's.
  static Result<std::unique_ptr<VhostKernelNet>> open(VhostApi& api, int fd, int tap_fd, bool tap_has_header);
  u64 features() const override;
  Result<void> set_features(u64 features) override;
  Result<void> enable_ring(unsigned index, bool on) override;
  Result<u32> stop_ring(unsigned index) override;

 private:
  VhostKernelNet(VhostApi& api, int tap_fd, bool tap_has_header)
      : VhostKernel(api, "/dev/vhost-net"), tap_fd_(tap_fd), tap_has_header_(tap_has_header) {}
  const int tap_fd_;
  const bool tap_has_header_;
};

/// Sockets between host and guest: ring 0 receives, ring 1 sends.
class VhostKernelVsock final : public VhostKernel {
 public:
  static Result<std::unique_ptr<VhostKernelVsock>> open(VhostApi& api, int fd, u64 guest_cid);
  Result<void> begin() override { return set_running(1); }
  Result<void> end() override { return set_running(0); }

 private:
  explicit VhostKernelVsock(VhostApi& api) : VhostKernel(api, "/dev/vhost-vsock") {}
  Result<void> set_running(int on) const;
};

}  // namespace emu::hw
