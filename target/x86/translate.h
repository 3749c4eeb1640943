// SPDX-License-Identifier: Apache-2.0
// X86Translator: x86 guest code to IR, one extended block at a time. See translator.md sections 1 and 6.
#pragma once

#include "target/cpu.h"
#include "target/x86/decode.h"
#include "target/x86/models.h"

namespace emu::x86 {

/// The encodings that a CPU with these CPUID bits has (models.cpp).
InsnFeatures insn_features(const CpuidFeatures& cpuid);

class X86Translator final : public target::Translator {
 public:
  /// `helpers` in the order of helpers.inc (make_helper_table()); `features` (insn_features()) decide which
  /// encodings exist.
  explicit X86Translator(ir::HelperTable helpers, InsnFeatures features = kAllFeatures);

  const ir::StateLayout& layout() const override { return layout_; }
  const ir::HelperTable& helpers() const override { return helpers_; }
  target::TranslateResult translate(const target::TranslateRequest& request, target::GuestCode& code,
                                    ir::Builder& builder) override;
  bool may_branch_to(u64 pc) const override;
  std::string disassemble(std::span<const u8> bytes, u64 pc, u32 mode) const override;

 private:
  ir::StateLayout layout_;
  ir::HelperTable helpers_;
  InsnFeatures features_;
};

}  // namespace emu::x86
