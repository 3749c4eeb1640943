// SPDX-License-Identifier: Apache-2.0
#include "target/x86/kvm/nested_state.h"

#include <cerrno>
#include <cstring>

namespace emu::x86 {
namespace {

constexpr u64 kNowhere = ~u64(0);
constexpr u32 kHeader = sizeof(kvm_nested_state);
static_assert(kHeader == 128, "the request's number has this size in it");

}  // namespace

kvm_nested_state NestedState::header() const {
  kvm_nested_state out{};
  if (size_ >= kHeader) std::memcpy(&out, words_.data(), kHeader);
  return out;
}

Result<void> NestedState::fetch(const accel::KvmFd& vcpu) {
  if (!is_there()) return {};
  words_.assign((most_ + 7) / 8, 0);
  size_ = 0;
  loaded_ = false;
  auto& state = *reinterpret_cast<kvm_nested_state*>(words_.data());
  state.size = most_;
  const int result = vcpu.call(KVM_GET_NESTED_STATE, &state);
  if (result == -E2BIG) {
    return error("KVM's nested state takes {} bytes, more than the {} that it said", u32(state.size), most_);
  }
  if (result < 0) return error("KVM refuses KVM_GET_NESTED_STATE: {}", std::strerror(-result));
  if (state.size < kHeader || state.size > most_) {
    return error("KVM's nested state is of {} bytes, not {} to {}", u32(state.size), kHeader, most_);
  }
  size_ = state.size;
  return {};
}

/// For VMX: outside of VMX operation. For SVM: outside of a guest, with the global interrupt flag set.
bool NestedState::is_as_after_reset() const {
  const kvm_nested_state is = header();
  if (is.format == KVM_STATE_NESTED_FORMAT_VMX) return is.flags == 0 && is.hdr.vmx.vmxon_pa == kNowhere;
  return is.format == KVM_STATE_NESTED_FORMAT_SVM && is.flags == KVM_STATE_NESTED_GIF_SET;
}

Result<void> NestedState::reset(const accel::KvmFd& vcpu) {
  loaded_ = false;
  if (size_ == 0 || is_as_after_reset()) return {};  // never fetched: the vCPU is new
  kvm_nested_state none{};
  none.format = header().format;
  none.size = kHeader;
  if (none.format == KVM_STATE_NESTED_FORMAT_VMX) {
    none.hdr.vmx.vmxon_pa = none.hdr.vmx.vmcs12_pa = kNowhere;
  } else if (none.format == KVM_STATE_NESTED_FORMAT_SVM) {
    none.flags = KVM_STATE_NESTED_GIF_SET;
  } else {
    return error("KVM's nested state has format {}, which this program does not know", u32(none.format));
  }
  EMU_TRY(vcpu.require("KVM_SET_NESTED_STATE", KVM_SET_NESTED_STATE, &none));
  std::memcpy(words_.data(), &none, kHeader);
  size_ = kHeader;
  return {};
}

Result<void> NestedState::put(const accel::KvmFd& vcpu) {
  if (!loaded_) return {};
  EMU_TRY(vcpu.require("KVM_SET_NESTED_STATE", KVM_SET_NESTED_STATE, words_.data()));
  loaded_ = false;
  return {};
}

Result<void> NestedState::load(std::span<const u8> bytes) {
  if (!is_there()) return error("this host's KVM has no nested state");
  if (bytes.size() < kHeader || bytes.size() > most_) {
    return error("a nested state of {} bytes, not {} to {}", bytes.size(), kHeader, most_);
  }
  kvm_nested_state given{};
  std::memcpy(&given, bytes.data(), kHeader);
  if (given.size != bytes.size())
    return error("a nested state of {} bytes says that it has {}", bytes.size(), u32(given.size));
  if (size_ != 0 && given.format != header().format) {
    return error("a nested state of format {}; this host's processor has format {}", u32(given.format),
                 u32(header().format));
  }
  words_.assign((most_ + 7) / 8, 0);
  std::memcpy(words_.data(), bytes.data(), bytes.size());
  size_ = given.size;
  loaded_ = true;
  return {};
}

}  // namespace emu::x86
