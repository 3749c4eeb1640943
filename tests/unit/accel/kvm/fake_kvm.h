// SPDX-License-Identifier: Apache-2.0
// A stand-in for the kernel: answers KVM's requests from a table, and notes them. Requests may come from several
// threads.
#pragma once

#include <cerrno>
#include <functional>
#include <map>
#include <mutex>
#include <vector>

#include "accel/kvm/kvm_api.h"

namespace emu::test {

class FakeKvm final : public accel::KvmApi {
 public:
  using Answer = std::function<int(u64 argument)>;

  FakeKvm() {
    on(KVM_GET_API_VERSION, [](u64) { return 12; });
    on(KVM_GET_VCPU_MMAP_SIZE, [](u64) { return 12288; });
    on(KVM_CREATE_VM, [](u64) { return 101; });
    on(KVM_CHECK_EXTENSION, [this](u64 which) { return extensions.contains(int(which)) ? extensions[int(which)] : 0; });
  }
  void on(unsigned long request, Answer answer) { answers_[request] = std::move(answer); }

  int open_device(const std::string&) override { return open_result; }
  int call(int fd, unsigned long request, u64 argument) override {
    {
      const std::lock_guard guard(mutex_);
      calls.push_back({fd, request});
    }
    const auto found = answers_.find(request);
    return found == answers_.end() ? -ENOTTY : found->second(argument);
  }
  u8* map(int, size_t bytes, u64 offset) override {
    auto& memory = maps[offset];
    if (memory.empty() && offset != 0) memory.resize(bytes);
    return memory.empty() ? nullptr : memory.data();
  }
  void unmap(u8*, size_t) override {}
  void close(int fd) override { closed.push_back(fd); }
  i64 read(int, std::span<u8> to, u64 offset) override {
    const size_t have = offset < file.size() ? std::min(to.size(), file.size() - size_t(offset)) : 0;
    std::memcpy(to.data(), file.data() + offset, have);
    return i64(have);
  }
  int duplicate(int fd) override { return fd + 1000; }
  /// Takes requests without doing anything.
  void take(std::initializer_list<unsigned long> requests) {
    for (const unsigned long request : requests) on(request, [](u64) { return 0; });
  }

  size_t count(unsigned long request) const {
    const std::lock_guard guard(mutex_);
    size_t n = 0;
    for (const auto& [fd, made] : calls) n += made == request;
    return n;
  }

  int open_result = 100;
  std::map<int, int> extensions = {{KVM_CAP_USER_MEMORY, 1},
                                   {KVM_CAP_READONLY_MEM, 1},
                                   {KVM_CAP_IMMEDIATE_EXIT, 1},
                                   {KVM_CAP_VCPU_EVENTS, 1},
                                   {KVM_CAP_DESTROY_MEMORY_REGION_WORKS, 1}};
  std::vector<std::pair<int, unsigned long>> calls;
  std::vector<int> closed;
  std::map<u64, std::vector<u8>> maps;  ///< by offset
  std::vector<u8> file;                 ///< what is read from descriptors

 private:
  mutable std::mutex mutex_;  ///< calls
  std::map<unsigned long, Answer> answers_;
};

}  // namespace emu::test
