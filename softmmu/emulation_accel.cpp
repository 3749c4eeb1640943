// SPDX-License-Identifier: Apache-2.0
// Emulation's accelerator: the first of those asked for that there is.
#include "softmmu/emulation.h"
#include "util/suggest.h"

namespace emu::softmmu {
namespace {

constexpr std::string_view kNotHere[] = {"xen", "hax", "hvf", "whpx", "nvmm"};
constexpr std::string_view kAll[] = {"tcg", "kvm", "qtest"};

bool contains(std::span<const std::string_view> names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

Result<std::vector<AccelRequest>> Emulation::accelerators_to_try() const {
  if (options_.accels.empty()) return std::vector<AccelRequest>{{.name = "tcg"}};
  for (const AccelRequest& request : options_.accels) {
    if (contains(kAll, request.name) || contains(kNotHere, request.name)) continue;
    std::string hint = did_you_mean(request.name, kAll);
    return error(Error(fmt::format("-accel {}: no such accelerator", request.name))
                     .with_hint(hint.empty() ? "there are tcg and kvm" : hint));
  }
  return options_.accels;
}

Clock::Drive Emulation::clock_drive() const {
  if (is_qtest(options_)) return Clock::Drive::Manual;
  return options_.icount.enabled ? Clock::Drive::Counted : Clock::Drive::Automatic;
}

Result<accel::AccelOptions> Emulation::translation_options(const AccelRequest& request) const {
  if (request.single_thread.value_or(false) && options_.cpus.cpus > 1 && !options_.icount.enabled) {
    return error(Error("-accel tcg,thread=single is not supported")
                     .with_hint("every vCPU has a thread of its own; with -icount they run in turn"));
  }
  if (!request.single_thread.value_or(true) && options_.icount.enabled) {
    return error("-accel tcg,thread=multi: with -icount vCPUs run in turn");
  }
  accel::AccelOptions chosen;
  chosen.icount = options_.icount;
  if (request.code_cache_bytes) chosen.code_cache_bytes = *request.code_cache_bytes;
  chosen.one_insn_per_block = request.one_insn_per_block || options_.one_insn_per_block;
  chosen.count = request.count;
  chosen.interpreter = request.interpreter;
  chosen.split_wx = request.split_wx;
  chosen.host_features = request.host_features;
  chosen.without = request.without;
  chosen.perf_map = options_.perf_map && !options_.dry_run;
  chosen.jit_dump = options_.jit_dump && !options_.dry_run;
  return chosen;
}

Result<accel::KvmOptions> Emulation::kvm_options(const AccelRequest& request) const {
  if (options_.icount.enabled) {
    return error(
        "-icount goes with -accel tcg only: kvm is not supported with it, the host's processor does not count");
  }
  std::string chips = request.kernel_chips;
  for (const auto& [name, value] : options_.machine_properties.pairs()) {
    if (chips.empty() && (name == "kernel-irqchip" || name == "kernel_irqchip")) chips = value;
  }
  accel::KvmOptions chosen;
  if (request.dirty_ring_shift != 0) chosen.dirty_ring_entries = 1u << request.dirty_ring_shift;
  if (chips == "off") {
    chosen.chips = accel::KernelChips::Off;
  } else if (chips == "split") {
    chosen.chips = accel::KernelChips::Split;
  } else if (chips == "on") {
    chosen.chips = accel::KernelChips::On;
  } else if (!chips.empty()) {
    return error("kernel-irqchip={}: it is off, split or on", chips);
  }
  return chosen;
}

/// Where the host cannot have one, the next is tried, and what it lacks is said in one line.
Result<void> Emulation::make_accelerator() {
  const std::vector<AccelRequest> wanted = EMU_TRY(accelerators_to_try());
  std::string passed_over;
  const auto found = [&](std::unique_ptr<accel::Accelerator> made) {
    accelerator_ = std::move(made);
    if (!passed_over.empty()) notes_.push_back(fmt::format("{}; using {}", passed_over, accelerator_->name()));
  };
  for (const AccelRequest& request : wanted) {
    const std::string option = "-accel " + request.name;
    if (request.name == "tcg") {
      const accel::AccelOptions options = EMU_TRY(translation_options(request));
      found(EMU_TRY(parts_.make_tcg(options, run_state_), option));
      return {};
    }
    if (request.name == "qtest") {
      if (options_.icount.enabled) return error("-icount goes with -accel tcg only: qtest executes no instructions");
      found(EMU_TRY(accel::make_qtest_accelerator(run_state_), option));
      return {};
    }
    Error why("this program does not have it");
    if (request.name == "kvm" && parts_.make_kvm) {
      const accel::KvmOptions options = EMU_TRY(kvm_options(request));
      auto made = parts_.make_kvm(options, run_state_);
      if (made) {
        found(std::move(*made));
        return {};
      }
      why = made.error();
    }
    if (&request == &wanted.back()) return error(std::move(why).within(option));
    if (passed_over.empty()) passed_over = option + ": " + why.message();
  }
  return error("-accel: there is none");
}

}  // namespace emu::softmmu
