// SPDX-License-Identifier: Apache-2.0
#include "accel/kvm/kvm_api.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace emu::accel {
namespace {

class SystemKvmApi final : public KvmApi {
 public:
  int open_device(const std::string& path) override { return result(::open(path.c_str(), O_RDWR | O_CLOEXEC)); }
  int call(int fd, unsigned long request, u64 argument) override { return result(::ioctl(fd, request, argument)); }
  u8* map(int fd, size_t bytes, u64 offset) override {
    void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, off_t(offset));
    return memory == MAP_FAILED ? nullptr : static_cast<u8*>(memory);
  }
  void unmap(u8* memory, size_t bytes) override { ::munmap(memory, bytes); }
  void close(int fd) override { ::close(fd); }
  i64 read(int fd, std::span<u8> to, u64 offset) override {
    const ssize_t got = ::pread(fd, to.data(), to.size(), off_t(offset));
    return got < 0 ? -errno : got;
  }
  int duplicate(int fd) override { return result(::fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

 private:
  static int result(int value) { return value < 0 ? -errno : value; }
};

/// What this program cannot do without.
constexpr struct {
  int capability;
  const char* name;
} kNeeded[] = {{KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
               {KVM_CAP_READONLY_MEM, "KVM_CAP_READONLY_MEM"},
               {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
               {KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS"},
               {KVM_CAP_DESTROY_MEMORY_REGION_WORKS, "KVM_CAP_DESTROY_MEMORY_REGION_WORKS"}};

}  // namespace

std::unique_ptr<KvmApi> make_kvm_api() { return std::make_unique<SystemKvmApi>(); }

KvmFd& KvmFd::operator=(KvmFd&& other) noexcept {
  std::swap(api_, other.api_);
  std::swap(fd_, other.fd_);
  return *this;
}

KvmFd::~KvmFd() {
  if (fd_ >= 0) api_->close(fd_);
}

tl::unexpected<Error> KvmFd::failed(const char* name, int code) {
  return error("KVM refuses {}: {}", name, std::strerror(code));
}

Result<KvmDevice> KvmDevice::open(KvmApi& api, const std::string& path) {
  const int opened = api.open_device(path);
  if (opened == -ENOENT || opened == -ENODEV || opened == -ENXIO) {
    return error(Error(fmt::format("no KVM on this host: {}: {}", path, std::strerror(-opened)))
                     .with_hint("load the kvm_intel or kvm_amd module and switch virtualization on in the host's "
                                "firmware, or use -accel tcg"));
  }
  if (opened == -EACCES || opened == -EPERM) {
    return error(Error(fmt::format("no rights to use {}", path))
                     .with_hint("add yourself to the group that owns it (kvm) and log in again, or use -accel tcg"));
  }
  if (opened < 0) return error("{}: {}", path, std::strerror(-opened));
  KvmFd fd(api, opened);
  const int version = EMU_TRY(fd.require("KVM_GET_API_VERSION", KVM_GET_API_VERSION, u64(0)));
  if (version != KVM_API_VERSION) {
    return error(Error(fmt::format("{} speaks version {} of KVM's interface, not {}", path, version, KVM_API_VERSION))
                     .with_hint("use a newer kernel, or -accel tcg"));
  }
  for (const auto& [capability, name] : kNeeded) {
    if (fd.call(KVM_CHECK_EXTENSION, u64(capability)) > 0) continue;
    return error(Error(fmt::format("this host's KVM is too old: it has no {}", name), ErrorClass::KVMMissingCap)
                     .with_hint("use Linux 4.12 or newer, or -accel tcg"));
  }
  const int run_bytes = EMU_TRY(fd.require("KVM_GET_VCPU_MMAP_SIZE", KVM_GET_VCPU_MMAP_SIZE, u64(0)));
  if (size_t(run_bytes) < sizeof(kvm_run)) return error("KVM gives vCPUs an area of only {} bytes", run_bytes);
  return KvmDevice(std::move(fd), size_t(run_bytes));
}

Result<KvmFd> KvmDevice::create_vm() const {
  int created = -EINTR;
  while (created == -EINTR) created = fd_.call(KVM_CREATE_VM, u64(0));
  if (created < 0) return error("KVM makes no virtual machine: {}", std::strerror(-created));
  return KvmFd(fd_.api(), created);
}

}  // namespace emu::accel
