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
bool read(const KvmFd& file, T& to, u64 offset) {
  return file.api().read(file.fd(), {reinterpret_cast<u8*>(&to), sizeof to}, offset) == i64(sizeof to);
}

}  // namespace

std::vector<std::pair<std::string, u64>> kernel_statistics(const KvmFd& vm_or_vcpu) {
  std::vector<std::pair<std::string, u64>> found;
  const int opened = vm_or_vcpu.call(KVM_GET_STATS_FD);
  if (opened < 0) return found;
  const KvmFd file(vm_or_vcpu.api(), opened);
  kvm_stats_header header{};
  if (!read(file, header, 0) || header.num_desc > kMostDescriptors || header.name_size > kLongestName) return found;
  for (u32 i = 0; i < header.num_desc; ++i) {
    const u64 at = header.desc_offset + u64(i) * (sizeof(Descriptor) + header.name_size);
    Descriptor one{};
    std::array<char, kLongestName + 1> name{};
    u64 value = 0;
    const std::span<u8> name_bytes(reinterpret_cast<u8*>(name.data()), header.name_size);
    if (!read(file, one, at) || one.size != 1 || !read(file, value, u64(header.data_offset) + one.offset)) continue;
    if (file.api().read(file.fd(), name_bytes, at + sizeof one) != i64(name_bytes.size())) continue;
    found.emplace_back(name.data(), value);
  }
  return found;
}

}  // namespace emu::accel
