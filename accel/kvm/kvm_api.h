// SPDX-License-Identifier: Apache-2.0
// KvmApi: the system calls that reach /dev/kvm, and nothing else, so that a test can stand in for the kernel. Names are
// those of the kernel's document Documentation/virt/kvm/api.rst.
#pragma once

#include <linux/kvm.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "util/result.h"
#include "util/types.h"

namespace emu::accel {

/// Failures are negative error numbers, as the kernel returns them. Any thread.
class KvmApi {
 public:
  virtual ~KvmApi() = default;
  virtual int open_device(const std::string& path) = 0;
  virtual int call(int fd, unsigned long request, u64 argument) = 0;
  virtual u8* map(int fd, size_t bytes, u64 offset) = 0;  ///< null: refused
  virtual void unmap(u8* memory, size_t bytes) = 0;
  virtual void close(int fd) = 0;
  /// How many bytes at `offset` were read.
  virtual i64 read(int fd, std::span<u8> to, u64 offset) = 0;
  virtual int duplicate(int fd) = 0;
};

/// The real one.
std::unique_ptr<KvmApi> make_kvm_api();

// The kernel's header gives structures with a list at their end another size in C++ than in C, and so the requests that
// take them other numbers. These are C's.
struct KvmCpuidHeader {
  u32 nent = 0, padding = 0;
};
struct KvmMsrsHeader {
  u32 nmsrs = 0, padding = 0;
};
struct KvmRoutingHeader {
  u32 nr = 0, flags = 0;
};
/// Writes that wait. Entries from `first` to before `last` hold some, going round.
struct KvmWriteRing {
  u32 first = 0, last = 0;
  std::array<kvm_coalesced_mmio, (4096 - 8) / sizeof(kvm_coalesced_mmio)> entries;
};
static_assert(offsetof(KvmWriteRing, entries) == 8);
/// XSAVE's standard format.
using KvmXsave = std::array<u32, 1024>;
inline constexpr unsigned long kGetSupportedCpuid = _IOWR(KVMIO, 0x05, KvmCpuidHeader),
                               kSetCpuid2 = _IOW(KVMIO, 0x90, KvmCpuidHeader),
                               kGetMsrs = _IOWR(KVMIO, 0x88, KvmMsrsHeader),
                               kSetMsrs = _IOW(KVMIO, 0x89, KvmMsrsHeader),
                               kSetGsiRouting = _IOW(KVMIO, 0x6a, KvmRoutingHeader),
                               kGetXsave = _IOR(KVMIO, 0xa4, KvmXsave), kSetXsave = _IOW(KVMIO, 0xa5, KvmXsave);

/// A request with a header and a list behind it, as the kernel lays them out.
template <typename Header, typename Entry>
class KvmList {
 public:
  explicit KvmList(size_t room) : storage_((sizeof(Header) + room * sizeof(Entry) + 7) / 8) {}
  Header* data() { return reinterpret_cast<Header*>(storage_.data()); }
  Header& header() { return *data(); }
  Entry get(size_t i) const {
    Entry entry;
    std::memcpy(&entry, place(i), sizeof entry);
    return entry;
  }
  /// Below the room that was asked for.
  void set(size_t i, const Entry& entry) { std::memcpy(const_cast<u8*>(place(i)), &entry, sizeof entry); }

 private:
  const u8* place(size_t i) const {
    const size_t at = sizeof(Header) + i * sizeof(Entry);
    EMU_CHECK(at + sizeof(Entry) <= storage_.size() * 8);
    return reinterpret_cast<const u8*>(storage_.data()) + at;
  }
  std::vector<u64> storage_;
};

/// A descriptor of KVM's: the device, a VM or a vCPU. Closed at the end.
class KvmFd {
 public:
  KvmFd() = default;
  KvmFd(KvmApi& api, int fd) : api_(&api), fd_(fd) {}
  KvmFd(KvmFd&& other) noexcept : api_(other.api_), fd_(std::exchange(other.fd_, -1)) {}
  KvmFd& operator=(KvmFd&& other) noexcept;
  ~KvmFd();

  int fd() const { return fd_; }
  KvmApi& api() const { return *api_; }
  /// A negative error number, or what the request gives.
  int call(unsigned long request, u64 argument = 0) const { return api_->call(fd_, request, argument); }
  template <typename T>
  int call(unsigned long request, T* argument) const {
    return api_->call(fd_, request, reinterpret_cast<u64>(argument));
  }
  /// The same, with an error that names the request.
  template <typename T>
  Result<int> require(const char* name, unsigned long request, T argument) const {
    const int result = call(request, argument);
    if (result < 0) return failed(name, -result);
    return result;
  }

 private:
  static tl::unexpected<Error> failed(const char* name, int code);
  KvmApi* api_ = nullptr;
  int fd_ = -1;
};

/// /dev/kvm, open and found good. Errors: one sentence, with the way out as its hint.
class KvmDevice {
 public:
  static Result<KvmDevice> open(KvmApi& api, const std::string& path = "/dev/kvm");

  /// KVM_CHECK_EXTENSION; 0: not there.
  int extension(int capability) const { return std::max(0, fd_.call(KVM_CHECK_EXTENSION, u64(capability))); }
  size_t run_bytes() const { return run_bytes_; }
  const KvmFd& fd() const { return fd_; }
  Result<KvmFd> create_vm() const;

 private:
  KvmDevice(KvmFd fd, size_t run_bytes) : fd_(std::move(fd)), run_bytes_(run_bytes) {}
  KvmFd fd_;
  size_t run_bytes_;
};

}  // namespace emu::accel
