// SPDX-License-Identifier: Apache-2.0
// IR as text. Grammar and examples: docs/devel/ir.md.
#include <fmt/format.h>

#include <iterator>

#include "tcg/ir/text.h"
#include "tcg/ir/vec_ops.h"
#include "tcg/ir/verify.h"

namespace emu::ir {
namespace {

using text::kCondNames;
using text::kTypeNames;

class Printer {
 public:
  Printer(const Block& block, const StateLayout& layout, const HelperTable& helpers)
      : block_(block), layout_(layout), helpers_(helpers) {}

  std::string run() {
    put("block {:#x} bytes={} insns={}{}{}\n", block_.pc, block_.guest_bytes, block_.guest_insns,
        block_.wide_vectors ? " wide" : "", block_.uses_fpu ? " fpu" : "");
    for (u32 i = 1; i < block_.ops.size(); ++i) {
      if (block_.ops[i].opcode != Opcode::Nop) line(i, block_.ops[i]);
    }
    return std::move(out_);
  }

 private:
  template <typename... Args>
  void put(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out_), format, std::forward<Args>(args)...);
  }

  void line(u32 index, const Op& op) {
    out_ += op.opcode == Opcode::InsnStart ? " " : "   ";
    if (result_type(op) != Type::Void) put("v{} = ", index);
    out_ += info(op.opcode).text;
    const bool whole_field =
        op.opcode == Opcode::Set && layout_.field(FieldId(op.c.bits())).type == op.type;
    if (op.type != Type::Void && !whole_field && op.opcode != Opcode::SetFlags &&
        op.opcode != Opcode::GetFlags) {
      put(".{}", kTypeNames[unsigned(op.type)]);
    }
    first_ = true;
    before(op);
    operands(op);
    after(op);
    out_ += '\n';
  }

  void next() {
    out_ += first_ ? " " : ", ";
    first_ = false;
  }

  /// What stands in front of the operands: whom the op is about.
  void before(const Op& op) {
    const u32 c = op.c.bits();
    switch (op.opcode) {
      case Opcode::Get:
      case Opcode::Set:
        word(layout_.field(FieldId(c)).name);
        break;
      case Opcode::CmpSet:
      case Opcode::FlIs:
        word(kCondNames[c & 15]);
        break;
      case Opcode::Vec:
      case Opcode::Vec3:
        if (op.flags & kVecLowHalf) out_ += " low";
        word(info(vec_op_of(c)).text);
        break;
      case Opcode::X87:
        word(info(x87_op_of(c)).name);
        break;
      case Opcode::Call:
        word(helpers_.helpers[c].name);
        break;
      case Opcode::Rmw:
        word(text::kRmwNames[op.flags]);
        break;
      default:
        break;
    }
  }
  void word(std::string_view w) {
    next();
    out_ += w;
  }

  void operands(const Op& op) {
    const OpcodeInfo& row = info(op.opcode);
    if (row.c == Kind::Mem) {
      address(op.a, block_.mem(op));
    } else if (is_operand(row.a) && !op.a.is_none()) {
      operand(op.a);
    }
    if (op.opcode == Opcode::Cas || op.opcode == Opcode::Vec3) {
      operand(block_.args[op.b.bits()]);
      operand(block_.args[op.b.bits() + 1]);
    } else if (op.opcode == Opcode::Call) {
      for (const Ref arg : block_.call_args(op)) operand(arg);
    } else if (is_operand(row.b) && !op.b.is_none()) {
      operand(op.b);
    }
    if (is_operand(row.c) && !op.c.is_none()) operand(op.c);
  }

  void operand(Ref r) {
    next();
    reference(r);
  }
  void reference(Ref r) {
    if (r.is_value()) {
      put("v{}", r.id());
    } else if (r.is_pool() && block_.pool[r.pool_index()].pc_relative) {
      put("pc({:#x})", block_.constant_value(r));
    } else {
      number(i64(block_.constant_value(r)));
    }
  }
  void number(i64 v) {
    if (v < 0 && v >= -(i64(1) << 32)) {
      put("-{:#x}", u64(-v));
    } else {
      put("{:#x}", u64(v));
    }
  }

  void address(Ref base, const MemInfo& mem) {
    next();
    out_ += '[';
    if (!base.is_none()) {
      reference(base);
      if (mem.disp != 0 || base.is_constant())
        put(" {} {:#x}", mem.disp < 0 ? '-' : '+', u64(mem.disp < 0 ? -i64(mem.disp) : mem.disp));
    } else {
      number(mem.disp);
    }
    put("] {}", 1u << mem.log2_bytes);
    if (mem.extend == Extend::Sign) out_ += " sext";
    if (mem.view != kCurrentView) put(" view={}", mem.view);
    if (mem.align_log2 != 0) put(" align={}", 1u << mem.align_log2);
    if (mem.align_fault) out_ += " align_fault";
    if (mem.atomic) out_ += " atomic";
    if (mem.big_endian) out_ += " big_endian";
    if (mem.stack) out_ += " stack";
    if (mem.write_intent) out_ += " write_intent";
    if (mem.order != Order::Tso) put(" order={}", text::kOrderNames[unsigned(mem.order)]);
  }

  /// Numbers that are no operands: immediates, lanes, codes.
  void after(const Op& op) {
    const u32 c = op.c.bits();
    switch (op.opcode) {
      case Opcode::Vec:
      case Opcode::Vec3:
        if (info(vec_op_of(c)).immediate) tail(immediate_of(c));
        break;
      case Opcode::X87:
        tail(immediate_of(c));
        break;
      case Opcode::Get:
      case Opcode::Set:
      case Opcode::CmpSet:
      case Opcode::FlIs:
      case Opcode::Call:
        break;
      default:
        if (info(op.opcode).c == Kind::Raw) tail(c);
        break;
    }
  }
  void tail(u32 n) {
    next();
    put("#{:#x}", n);
  }

  const Block& block_;
  const StateLayout& layout_;
  const HelperTable& helpers_;
  std::string out_;
  bool first_ = true;
};

}  // namespace

std::string print(const Block& block, const StateLayout& layout, const HelperTable& helpers) {
  return Printer(block, layout, helpers).run();
}

}  // namespace emu::ir
