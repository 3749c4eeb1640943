// SPDX-License-Identifier: Apache-2.0
#include "target/x86/kvm/kvm_target.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <cerrno>
#include <cstring>

#include "accel/kvm/kvm_accelerator.h"
#include "util/log.h"

namespace emu::x86 {

using accel::KernelChips;

namespace {

// Guest-physical pages that processors of old need for real mode: below the BIOS's area at 4 GiB, where no RAM is.
constexpr u64 kIdentityMap = 0xfeffc000, kTaskState = 0xfeffd000;

// CPUID.40000001:EAX, Documentation/virt/kvm/x86/cpuid.rst
constexpr u32 kPvUnhalt = bit(7), kPvTlbFlush = bit(9), kPvIpi = bit(11), kPollControl = bit(12), kPvYield = bit(13),
              kPvEoi = bit(6), kAsyncPf = bit(4), kAsyncPfVmexit = bit(10), kAsyncPfInt = bit(14), kExtDestId = bit(15),
              kStealTime = bit(5);
constexpr u32 kX2apic = bit(21), kTscDeadline = bit(24), kHypervisor = bit(31);

Result<std::vector<kvm_cpuid_entry2>> supported_cpuid(const accel::KvmFd& device) {
  for (u32 room = 128; room <= 4096; room *= 2) {
    accel::KvmList<accel::KvmCpuidHeader, kvm_cpuid_entry2> request(room);
    request.header().nent = room;
    const int result = device.call(accel::kGetSupportedCpuid, request.data());
    if (result == -E2BIG) continue;
    if (result < 0) return error("KVM does not say what CPUs it has: {}", std::strerror(-result));
    std::vector<kvm_cpuid_entry2> list(std::min(request.header().nent, room));
    for (size_t i = 0; i < list.size(); ++i) list[i] = request.get(i);
    return list;
  }
  return error("KVM's list of CPU features has no end");
}

const char* spelling(KernelChips kind) {
  return kind == KernelChips::Off ? "off" : kind == KernelChips::Split ? "split" : "on";
}

}  // namespace

// --- The VM ---

Result<void> KvmX86Target::set_up(const accel::KvmDevice& device, accel::KvmFd& vm, const accel::KvmOptions& options) {
  vm_ = &vm;
  device_ = &device.fd();
  supported_ = EMU_TRY(supported_cpuid(device.fd()));
  if (device.extension(KVM_CAP_SET_IDENTITY_MAP_ADDR) != 0) {
    u64 address = kIdentityMap;
    EMU_TRY(vm.require("KVM_SET_IDENTITY_MAP_ADDR", KVM_SET_IDENTITY_MAP_ADDR, &address));
  }
  if (device.extension(KVM_CAP_SET_TSS_ADDR) != 0) {
    EMU_TRY(vm.require("KVM_SET_TSS_ADDR", KVM_SET_TSS_ADDR, kTaskState));
  }
  EMU_TRY(choose_chips(device, options));
  machine_.features.xsave = device.extension(KVM_CAP_XSAVE) != 0;
  machine_.features.xcrs = device.extension(KVM_CAP_XCRS) != 0;
  machine_.features.debug_registers = device.extension(KVM_CAP_DEBUGREGS) != 0;
  machine_.features.guest_debug = device.extension(KVM_CAP_SET_GUEST_DEBUG) != 0;
  const int debug = device.extension(KVM_CAP_SET_GUEST_DEBUG2);
  machine_.features.block_events = (debug & KVM_GUESTDBG_BLOCKIRQ) != 0;
  // Kernels before the capability that lists them had all of them.
  if (machine_.features.guest_debug && (debug == 0 || (debug & KVM_GUESTDBG_USE_HW_BP) != 0)) hardware_points_ = 4;
  machine_.features.clock_control = device.extension(KVM_CAP_KVMCLOCK_CTRL) != 0;
  machine_.features.tsc_rate = device.extension(KVM_CAP_GET_TSC_KHZ) != 0;
  machine_.features.tsc_scaling = device.extension(KVM_CAP_TSC_CONTROL) != 0;
  machine_.features.nested_bytes = u32(device.extension(KVM_CAP_NESTED_STATE));
  has_clock_ = device.extension(KVM_CAP_ADJUST_CLOCK) != 0;
  has_deadline_ = device.extension(KVM_CAP_TSC_DEADLINE_TIMER) != 0;

  u32 features = find_leaf(supported_, 0x40000001, 0)[0];
  features &= ~(kAsyncPf | kAsyncPfVmexit | kAsyncPfInt);  // on request only; we have no name for them
  if (kernel_chips() == KernelChips::Off)
    features &= ~(kPvUnhalt | kPvIpi | kPvEoi | kPvYield | kPollControl | kExtDestId);
  if (!(features & kStealTime)) features &= ~kPvTlbFlush;  // it goes by the preempted flag there
  machine_.features.kvm_features = features;
  return {};
}

Result<void> KvmX86Target::choose_chips(const accel::KvmDevice& device, const accel::KvmOptions& options) {
  const bool has_on = device.extension(KVM_CAP_IRQCHIP) != 0 && device.extension(KVM_CAP_PIT2) != 0;
  const bool has_split = device.extension(KVM_CAP_SPLIT_IRQCHIP) != 0 && device.extension(KVM_CAP_SIGNAL_MSI) != 0;
  const KernelChips best = has_split ? KernelChips::Split : has_on ? KernelChips::On : KernelChips::Off;
  const KernelChips wanted = options.chips.value_or(best);
  if ((wanted == KernelChips::On && !has_on) || (wanted == KernelChips::Split && !has_split)) {
    return error(Error(fmt::format("this host's KVM has no kernel-irqchip={}", spelling(wanted)))
                     .with_hint(fmt::format("use kernel-irqchip={}", spelling(best))));
  }
  return chips_.create(*vm_, wanted);
}

Result<std::unique_ptr<accel::KvmCpu>> KvmX86Target::make_cpu(const accel::KvmVcpuParts& parts) {
  auto* cpu = dynamic_cast<X86Cpu*>(&parts.cpu);
  if (cpu == nullptr) return error("vCPU {} is no x86 CPU", parts.cpu.index());
  return std::unique_ptr<accel::KvmCpu>(std::make_unique<KvmX86Cpu>(*cpu, parts, machine_));
}

/// The paravirtual clock stands still with the machine.
void KvmX86Target::stopped() {
  kvm_clock_data now{};
  if (has_clock_ && vm_->call(KVM_GET_CLOCK, &now) >= 0) clock_ns_ = now.clock;
}

void KvmX86Target::resumed() {
  if (!clock_ns_) return;
  kvm_clock_data then{};
  then.clock = *clock_ns_;
  if (vm_->call(KVM_SET_CLOCK, &then) < 0) log::warn("KVM does not set the guest's clock");
  clock_ns_.reset();
}

/// What the kernel lists, and what it does not list but depends on the interrupt chips or on us.
std::array<u32, 4> KvmX86Target::host_cpuid(u32 leaf, u32 subleaf) const {
  std::array<u32, 4> r = find_leaf(supported_, leaf, subleaf);
  if (leaf == 1) {
    r[2] |= kHypervisor;
    if (kernel_chips() == KernelChips::Off) {
      r[2] &= ~(kX2apic | kTscDeadline);  // the kernel would not have those registers
    } else if (has_deadline_) {
      r[2] |= kTscDeadline;
    }
  }
#if defined(__x86_64__)
  if (leaf >= 0x80000002 && leaf <= 0x80000004 && (r[0] | r[1] | r[2] | r[3]) == 0) {
    __cpuid(leaf, r[0], r[1], r[2], r[3]);  // a name is harmless
  }
#endif
  return r;
}

/// KVM_GET_MSRS on the device itself: feature MSRs.
u64 KvmX86Target::host_feature_msr(u32 index) const {
  accel::KvmList<accel::KvmMsrsHeader, kvm_msr_entry> request(1);
  request.header().nmsrs = 1;
  request.set(0, {.index = index});
  return device_->call(accel::kGetMsrs, request.data()) == 1 ? u64(request.get(0).data) : 0;
}

Result<std::unique_ptr<accel::Accelerator>> make_kvm_accelerator(const accel::KvmOptions& options,
                                                                 accel::AccelClient& client) {
  return EMU_TRY(
      accel::KvmAccelerator::create(accel::make_kvm_api(), std::make_unique<KvmX86Target>(), options, client));
}

}  // namespace emu::x86
