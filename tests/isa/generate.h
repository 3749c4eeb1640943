// SPDX-License-Identifier: Apache-2.0
// Cases for the comparison, made from the decoder's rows.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "isa/random.h"
#include "isa/state.h"
#include "target/x86/decode.h"

namespace emu::isa {

enum class PrefixClass : u8 { Plain, Fs, Gs, OtherSegment, AddressSize, Repne, Rep, Lock, Redundant, kCount };
const char* name(PrefixClass c);

/// One way to write an instruction: what coverage counts.
struct Form {
  u16 row = 0;  ///< index into x86::all_rows()
  Bits bits = Bits::k64;
  u8 size = 2;  ///< log2 of the operand size that prefixes ask for: 1, 2, 3
  bool is_memory = false;
  PrefixClass prefix = PrefixClass::Plain;
};
/// Every form of every row that is translated and can be compared on this host.
std::vector<Form> all_forms();

/// Why an instruction cannot be compared with the host's; null if it can. See exclusions.cpp.
const char* cannot_compare(const x86::Row& row, Bits bits);
/// `written`: the row that its bytes were made from, which prefixes may have turned into another.
bool cannot_compare(const x86::Insn& insn, const x86::Row& written, Bits bits);
/// The CPU feature by its name in models.inc that keeps a row from this host, or from the host that ISA_WITHOUT_AVX512
/// makes of it; null if the host has it.
const char* lacking_feature(const x86::Row& row);
/// Gathers and scatters.
inline bool has_vector_index(const x86::Row& row) {
  return row.is(x86::kVsib) || std::string_view(row.name).find("GATHER") != std::string_view::npos;
}
/// Whether `insn` may only stand by itself: is_undefined() has to know its operands.
bool cannot_be_in_block(const x86::Insn& insn);
/// Whether the manual leaves open what `insn` does in this very state.
bool is_undefined(const x86::Insn& insn, const State& before, const Memory& memory);
/// What may differ after `insn`: what is written there or undefined by the manual.
void add_masks(const x86::Insn& insn, const State& before, Bits bits, Masks& masks);

/// Instructions to run, and what their states must look like to be worth running.
struct Case {
  Bits bits = Bits::k64;
  bool align_check = false;
  bool simd_traps = false, x87_traps = false;  ///< MXCSR, the x87 control word unmask exceptions
  bool avx512 = false;  ///< bits 511:256 of vectors, and the mask registers, are in use
  std::vector<u8> code;
  std::vector<x86::Insn> insns;  ///< with `offset` set
};

/// One instruction of this form. Empty code: it cannot be written so.
Case make_case(const Form& form, Random& random);
/// A straight line of up to `count` instructions.
Case make_block(const std::vector<Form>& forms, Bits bits, unsigned count, Random& random);
/// An address in the window, mostly inside its pages, often at their ends.
u64 target_address(Random& random);
/// Known deviations of ours: documented in exclusions.cpp. The states are those after the runs: where one faulted, what
/// the faulting instruction found, which is not what the case began with.
bool is_same_by_exception(const Case& c, const Outcome& host, const State& host_state, const Outcome& ours,
                          const State& our_state);
/// After a fault of a gather with VEX only the signs of its mask's lanes count; the other bits are made like them.
void settle_gather_mask(const Case& c, const Outcome& outcome, State& after);
State make_state(const Case& c, const Memory& memory, Random& random);
void fill_memory(Memory& memory, Random& random);

}  // namespace emu::isa
