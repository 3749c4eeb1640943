// SPDX-License-Identifier: Apache-2.0
#include "accel/kvm/kernel_statistics.h"

namespace emu::accel {
namespace {

/// struct kvm_stats_desc without the name behind it.
struct Descriptor {
  u32 flags;
  i16 exponent;
  u16 size;  ///< in words of eight bytes
  u32 offset, bucket_size;
};
static_assert(sizeof(Descriptor) == 16);
// More than any kernel has; what it says is not trusted with our memory.
constexpr u32 kMostDescriptors = 4096, kLongestName = 256;

template <typename T>
bool read_at(const KvmFd& file, T& to, u64 offset) {
  return file.api().read(file.fd(), {reinterpret_cast<u8*>(&to), sizeof to}, offset) == i64(sizeof to);
}

}  // namespace

KernelStatistics::KernelStatistics(const KvmFd& vm_or_vcpu) {
  const int opened = vm_or_vcpu.call(KVM_GET_STATS_FD);
  if (opened >= 0) file_ = KvmFd(vm_or_vcpu.api(), opened);
}

std::vector<std::pair<std::string, u64>> KernelStatistics::read() const {
  std::vector<std::pair<std::string, u64>> found;
  kvm_stats_header header{};
  if (file_.fd() < 0 || !read_at(file_, header, 0)) return found;
  if (header.num_desc > kMostDescriptors || header.name_size > kLongestName) return found;
  for (u32 i = 0; i < header.num_desc; ++i) {
    const u64 at = header.desc_offset + u64(i) * (sizeof(Descriptor) + header.name_size);
    Descriptor one{};
    std::array<char, kLongestName + 1> name{};
    u64 value = 0;
    const std::span<u8> name_bytes(reinterpret_cast<u8*>(name.data()), header.name_size);
    if (!read_at(file_, one, at) || one.size != 1 || !read_at(file_, value, u64(header.data_offset) + one.offset))
      continue;
    if (file_.api().read(file_.fd(), name_bytes, at + sizeof one) != i64(name_bytes.size())) continue;
    found.emplace_back(name.data(), value);
  }
  return found;
}

}  // namespace emu::accel
