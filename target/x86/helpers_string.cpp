// SPDX-License-Identifier: Apache-2.0
// String instructions with a repeat prefix. Registers follow every element or run, so that a fault or an interrupt
// finds them as the manual wants, and the instruction starts again with what is left.
#include <algorithm>
#include <cstring>

#include "target/x86/cpu.h"
#include "target/x86/string_op.h"

namespace emu::x86 {

using target::AccessStatus;

namespace {

/// Elements between looks at exit_req in loops that go one by one.
constexpr unsigned kElementsPerCheck = 64;

/// The element's value if all its bytes are equal.
bool is_repeated_byte(u64 value, unsigned bytes) {
  const u64 pattern = (value & 0xff) * 0x0101010101010101;
  return ((value ^ pattern) & low_mask(bytes * 8)) == 0;
}

u64 page_left(u64 linear) { return 4096 - (linear & 4095); }

}  // namespace

StringOp::StringOp(X86Cpu& cpu, u64 mode)
    : StringOp(cpu, unsigned(mode & 0xff), unsigned(mode >> 8 & 0xff), Seg(mode >> 16 & 7)) {}

StringOp::StringOp(X86Cpu& cpu, unsigned element_bytes, unsigned address_bytes, Seg source_segment)
    : cpu_(cpu),
      state_(cpu.state()),
      bytes(element_bytes),
      step(state_.df < 0 ? -i64(element_bytes) : i64(element_bytes)),
      mask_(low_mask(address_bytes * 8)),
      source_(source_segment) {}

u64 StringOp::count() const { return state_.gpr(RCX) & mask_; }

void StringOp::set(Gpr reg, u64 value) {
  u64& r = state_.gpr(reg);
  r = mask_ == 0xffff ? (r & ~u64(0xffff)) | (value & 0xffff) : value & mask_;
}

void StringOp::advance(u64 elements, bool source, bool destination, bool counts) {
  if (source) set(RSI, state_.gpr(RSI) + u64(step) * elements);
  if (destination) set(RDI, state_.gpr(RDI) + u64(step) * elements);
  if (counts) set(RCX, state_.gpr(RCX) - elements);
}

bool StringOp::source(u64 size, u64& linear) {
  return cpu_.segment_linear(source_, state_.gpr(RSI) & mask_, size, false, linear);
}
bool StringOp::destination(u64 size, bool is_write, u64& linear) {
  return cpu_.segment_linear(ES, state_.gpr(RDI) & mask_, size, is_write, linear);
}

/// How many bytes forward a run may take from `offset` without wrapping or leaving the segment.
u64 StringOp::run_limit(Gpr reg, u64 wanted, bool is_write) const {
  const u64 offset = state_.gpr(reg) & mask_;
  u64 left = std::min(wanted, mask_ - offset);
  if (!cpu_.is_code64()) {
    const SegmentRange& r = state_.seg_range[reg == RSI ? source_ : ES];
    const u64 low = is_write ? r.write_low : r.read_low, high = is_write ? r.write_high : r.read_high;
    if (offset < low || offset > high) return 0;
    left = std::min(left, high - offset + 1);
  }
  return left;
}

/// Linear address of an access, or #GP/#SS pending.
bool X86Cpu::segment_linear(Seg seg, u64 offset, u64 bytes, bool is_write, u64& linear) {
  if (is_code64()) {
    linear = seg == FS || seg == GS ? s_->segment_base(seg) + offset : offset;
    return true;
  }
  const SegmentRange& r = s_->seg_range[seg];
  const u64 low = is_write ? r.write_low : r.read_low, high = is_write ? r.write_high : r.read_high;
  if (offset < low || offset + bytes - 1 > high) return raise(seg == SS ? kSS : kGP, 0);
  linear = u32(s_->segment_base(seg) + offset);
  return true;
}

/// Events are due: the accelerator takes them and the instruction starts again.
void X86Cpu::restart_instruction() { s_->hdr.leave = tcg::kLeaveAtInsn; }

u64 X86Cpu::helper_rep_movs(const u64* args) {
  StringOp op(*this, args[0]);
  const u8 view = current_view();
  const unsigned per_check = goes_by_elements() ? 1 : kElementsPerCheck;
  unsigned budget = per_check;
  for (u64 count = op.count(); count != 0; count = op.count()) {
    u64 from = 0, to = 0, value = 0;
    if (!op.source(op.bytes, from) || !op.destination(op.bytes, true, to)) return 0;
    u64 done = 0;
    if (op.step > 0 && !checks_alignment() && !goes_by_elements()) {
      u64 run = count > 4096 ? 4096 : count * op.bytes;
      run =
          std::min({run, page_left(from), page_left(to), op.run_limit(RSI, run, false), op.run_limit(RDI, run, true)});
      // Forward overlap repeats what was just written: a run may not reach into its own source.
      if (to > from && to - from < run) run = to - from;
      run -= run % op.bytes;
      if (run > op.bytes) done = memory_->copy_run(to, from, run, view) / op.bytes;
    }
    if (done == 0) {
      if (!read(from, op.bytes, view, value) || !write(to, op.bytes, view, value)) return 0;
      done = 1;
      --budget;
    } else {
      budget = 0;
    }
    op.advance(done, true, true, true);
    if (budget != 0) continue;
    budget = per_check;
    if (done < count && string_stops()) return restart_instruction(), 0;
  }
  return 0;
}

u64 X86Cpu::helper_rep_stos(const u64* args) {
  StringOp op(*this, args[0]);
  const u8 view = current_view();
  const u64 value = s_->gpr(RAX) & low_mask(op.bytes * 8);
  const bool fills = op.step > 0 && !checks_alignment() && !goes_by_elements() && is_repeated_byte(value, op.bytes);
  const unsigned per_check = goes_by_elements() ? 1 : kElementsPerCheck;
  unsigned budget = per_check;
  for (u64 count = op.count(); count != 0; count = op.count()) {
    u64 to = 0;
    if (!op.destination(op.bytes, true, to)) return 0;
    u64 done = 0;
    if (fills) {
      u64 run = count > 4096 ? 4096 : count * op.bytes;
      run = std::min({run, page_left(to), op.run_limit(RDI, run, true)});
      run -= run % op.bytes;
      if (run > op.bytes) done = memory_->fill_run(to, u8(value), run, view) / op.bytes;
    }
    if (done == 0) {
      if (!write(to, op.bytes, view, value)) return 0;
      done = 1;
      --budget;
    } else {
      budget = 0;
    }
    op.advance(done, false, true, true);
    if (budget != 0) continue;
    budget = per_check;
    if (done < count && string_stops()) return restart_instruction(), 0;
  }
  return 0;
}

u64 X86Cpu::helper_rep_lods(const u64* args) {
  StringOp op(*this, args[0]);
  const u8 view = current_view();
  const unsigned per_check = goes_by_elements() ? 1 : kElementsPerCheck;
  unsigned budget = per_check;
  for (u64 count = op.count(); count != 0; count = op.count()) {
    u64 from = 0, value = 0;
    if (!op.source(op.bytes, from) || !read(from, op.bytes, view, value)) return 0;
    u64& rax = s_->gpr(RAX);
    rax = op.bytes == 4 ? u32(value) : deposit(rax, op.bytes * 8 - 1, 0, value);
    op.advance(1, true, false, true);
    if (--budget == 0) {
      budget = per_check;
      if (count > 1 && string_stops()) return restart_instruction(), 0;
    }
  }
  return 0;
}

namespace {

/// Flags of `a - b` for elements of `bytes`.
void set_compare_flags(X86State& s, u64 a, u64 b, unsigned bytes) {
  s.hdr.cc_op = tcg::cc_op(tcg::CcKind::Cmp, unsigned(std::countr_zero(bytes)));
  s.hdr.cc_a = a;
  s.hdr.cc_b = b;
}

}  // namespace

// Compares load a run at once where that stays in a page: the few elements behind the one that ends the loop are read
// too early, which only a device could notice, and string compares on device registers do not occur.
u64 X86Cpu::helper_rep_cmps(const u64* args) {
  StringOp op(*this, args[0]);
  const bool while_equal = args[1] != 0;
  const u8 view = current_view();
  for (u64 count = op.count(); count != 0; count = op.count()) {
    u64 from = 0, to = 0;
    u8 left[256], right[256];
    if (!op.source(op.bytes, from) || !op.destination(op.bytes, false, to)) return 0;
    u64 run = op.bytes;
    if (op.step > 0 && !goes_by_elements()) {
      const u64 wanted = std::min<u64>(sizeof left, count > 256 ? 256 : count * op.bytes);
      run = std::min(
          {wanted, page_left(from), page_left(to), op.run_limit(RSI, wanted, false), op.run_limit(RDI, wanted, false)});
      run = std::max<u64>(run - run % op.bytes, op.bytes);
    }
    if (!check_alignment(from, op.bytes, view) || !check_alignment(to, op.bytes, view)) return 0;
    if (memory_->load_bytes(wrap_linear(from), std::span(left, run), view) != AccessStatus::Ok ||
        memory_->load_bytes(wrap_linear(to), std::span(right, run), view) != AccessStatus::Ok) {
      return 0;
    }
    u64 a = 0, b = 0, done = 0;
    bool stop = false;
    for (u64 i = 0; i < run && !stop; i += op.bytes) {
      std::memcpy(&a, left + i, op.bytes);
      std::memcpy(&b, right + i, op.bytes);
      ++done;
      stop = (a == b) != while_equal;
    }
    op.advance(done, true, true, true);
    set_compare_flags(*s_, a, b, op.bytes);
    if (stop || done == count) return 0;
    if (string_stops()) return restart_instruction(), 0;
  }
  return 0;
}

u64 X86Cpu::helper_rep_scas(const u64* args) {
  StringOp op(*this, args[0]);
  const bool while_equal = args[1] != 0;
  const u8 view = current_view();
  const u64 a = s_->gpr(RAX) & low_mask(op.bytes * 8);
  for (u64 count = op.count(); count != 0; count = op.count()) {
    u64 to = 0;
    u8 right[256];
    if (!op.destination(op.bytes, false, to)) return 0;
    u64 run = op.bytes;
    if (op.step > 0 && !goes_by_elements()) {
      const u64 wanted = std::min<u64>(sizeof right, count > 256 ? 256 : count * op.bytes);
      run = std::min({wanted, page_left(to), op.run_limit(RDI, wanted, false)});
      run = std::max<u64>(run - run % op.bytes, op.bytes);
    }
    if (!check_alignment(to, op.bytes, view)) return 0;
    if (memory_->load_bytes(wrap_linear(to), std::span(right, run), view) != AccessStatus::Ok) return 0;
    u64 b = 0, done = 0;
    bool stop = false;
    for (u64 i = 0; i < run && !stop; i += op.bytes) {
      std::memcpy(&b, right + i, op.bytes);
      ++done;
      stop = (a == b) != while_equal;
    }
    op.advance(done, false, true, true);
    set_compare_flags(*s_, a, b, op.bytes);
    if (stop || done == count) return 0;
    if (string_stops()) return restart_instruction(), 0;
  }
  return 0;
}

}  // namespace emu::x86
