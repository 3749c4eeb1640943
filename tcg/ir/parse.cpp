// SPDX-License-Identifier: Apache-2.0
// Reads what print.cpp writes, and hand-written blocks in the same form. Value names may have gaps: nops fill them.
#include <charconv>
#include <unordered_map>

#include "tcg/ir/text.h"
#include "tcg/ir/vec_ops.h"
#include "tcg/ir/verify.h"

namespace emu::ir {
namespace {

/// One line's tokens.
class Line {
 public:
  explicit Line(std::string_view rest) : rest_(rest) {}

  bool at_end() {
    skip();
    return rest_.empty();
  }
  bool take(char c) {
    skip();
    if (rest_.empty() || rest_[0] != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  char peek() {
    skip();
    return rest_.empty() ? '\0' : rest_[0];
  }
  /// Letters, digits, '_' and '.'.
  std::string_view word() {
    skip();
    size_t n = 0;
    while (n < rest_.size() && is_word(rest_[n])) ++n;
    const auto w = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return w;
  }
  Result<u64> number() {
    const bool negative = take('-');
    std::string_view digits = word();
    int base = 10;
    if (digits.starts_with("0x")) digits.remove_prefix(2), base = 16;
    u64 v = 0;
    const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), v, base);
    if (code != std::errc() || end != digits.data() + digits.size() || digits.empty()) return error("number expected");
    return negative ? 0 - v : v;
  }
  bool take_word(std::string_view expected) {
    const auto saved = rest_;
    if (word() == expected) return true;
    rest_ = saved;
    return false;
  }

 private:
  static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
  }
  void skip() {
    while (!rest_.empty() && (rest_[0] == ' ' || rest_[0] == '\t' || rest_[0] == '\r')) rest_.remove_prefix(1);
  }
  std::string_view rest_;
};

template <size_t n>
Result<unsigned> find_name(const std::string_view (&names)[n], std::string_view name, const char* what) {
  for (unsigned i = 0; i < n; ++i) {
    if (names[i] == name) return i;
  }
  return error("no such {} '{}'", what, name);
}

class Parser {
 public:
  Parser(const StateLayout& layout, const HelperTable& helpers, Block& block)
      : layout_(layout), helpers_(helpers), block_(block) {
    for (u16 i = 0; i < u16(Opcode::kCount); ++i) opcodes_.emplace(info(Opcode(i)).text, Opcode(i));
  }

  Result<void> run(std::string_view text) {
    block_.clear();
    for (unsigned number = 1; !text.empty(); ++number) {
      const size_t end = text.find('\n');
      std::string_view line = text.substr(0, end);
      text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
      if (const size_t comment = line.find(';'); comment != std::string_view::npos) line = line.substr(0, comment);
      Line tokens(line);
      if (tokens.at_end()) continue;
      EMU_TRY(parse_line(tokens), fmt::format("line {}", number));
    }
    return {};
  }

 private:
  Result<void> parse_line(Line& line) {
    std::string_view word = line.word();
    if (word == "block") return parse_header(line);
    std::string_view name;
    if (line.take('=')) {
      name = word;
      word = line.word();
    }
    Op op;
    EMU_TRY(parse_mnemonic(word, op));
    first_ = true;
    EMU_TRY(parse_before(line, op));
    EMU_TRY(parse_operands(line, op));
    EMU_TRY(parse_after(line, op));
    if (!line.at_end()) return error("something follows the operands of {}", info(op.opcode).text);
    return append(op, name);
  }

  Result<void> parse_header(Line& line) {
    block_.pc = EMU_TRY(line.number());
    while (!line.at_end()) {
      const std::string_view key = line.word();
      if (key == "wide") {
        block_.wide_vectors = true;
      } else if (key == "fpu") {
        block_.uses_fpu = true;
      } else if (!line.take('=')) {
        return error("'=' expected after '{}'", key);
      } else if (key == "bytes") {
        block_.guest_bytes = u32(EMU_TRY(line.number()));
      } else if (key == "insns") {
        block_.guest_insns = u32(EMU_TRY(line.number()));
      } else {
        return error("no such property '{}'", key);
      }
    }
    return {};
  }

  /// "fl.add.i32": a mnemonic, and a type if the last part is one.
  Result<void> parse_mnemonic(std::string_view word, Op& op) {
    if (const size_t dot = word.rfind('.'); dot != std::string_view::npos) {
      if (const auto type = find_name(text::kTypeNames, word.substr(dot + 1), "type")) {
        op.type = Type(*type);
        word = word.substr(0, dot);
      }
    }
    const auto found = opcodes_.find(word);
    if (found == opcodes_.end()) return error("no such operation '{}'", word);
    op.opcode = found->second;
    if (op.opcode == Opcode::GetFlags || op.opcode == Opcode::SetFlags) op.type = Type::Flags;
    return {};
  }

  Result<void> next(Line& line) {
    if (!first_ && !line.take(',')) return error("',' expected");
    first_ = false;
    return {};
  }

  Result<void> parse_before(Line& line, Op& op) {
    switch (op.opcode) {
      case Opcode::Get:
      case Opcode::Set: {
        EMU_TRY(next(line));
        const std::string_view name = line.word();
        for (u32 i = 0; i < layout_.fields.size(); ++i) {
          if (layout_.fields[i].name != name) continue;
          op.c = Ref::raw(i);
          if (op.type == Type::Void) op.type = layout_.fields[i].type;
          return {};
        }
        return error("no such field '{}'", name);
      }
      case Opcode::CmpSet:
      case Opcode::FlIs:
        EMU_TRY(next(line));
        op.c = Ref::raw(EMU_TRY(find_name(text::kCondNames, line.word(), "condition")));
        return {};
      case Opcode::Rmw:
        EMU_TRY(next(line));
        op.flags = u8(EMU_TRY(find_name(text::kRmwNames, line.word(), "rmw operation")));
        return {};
      case Opcode::Vec:
      case Opcode::Vec3: {
        Line ahead = line;
        if (ahead.word() == "low") {
          op.flags = kVecLowHalf;
          line = ahead;
        }
        return parse_sub_op<VecOp>(line, op, [](VecOp v) { return info(v).text; });
      }
      case Opcode::X87:
        return parse_sub_op<X87Op>(line, op, [](X87Op v) { return info(v).name; });
      case Opcode::Call: {
        EMU_TRY(next(line));
        const std::string_view name = line.word();
        for (u32 i = 0; i < helpers_.helpers.size(); ++i) {
          if (helpers_.helpers[i].name != name) continue;
          op.c = Ref::raw(i);
          return {};
        }
        return error("no such helper '{}'", name);
      }
      default:
        return {};
    }
  }

  template <typename T, typename Name>
  Result<void> parse_sub_op(Line& line, Op& op, Name name_of) {
    EMU_TRY(next(line));
    const std::string_view name = line.word();
    for (u32 i = 0; i < u32(T::kCount); ++i) {
      if (name != name_of(T(i))) continue;
      op.c = Ref::raw(i);
      return {};
    }
    return error("no such sub-operation '{}'", name);
  }

  Result<void> parse_operands(Line& line, Op& op) {
    const OpcodeInfo& row = info(op.opcode);
    if (row.c == Kind::Mem) {
      op.a = EMU_TRY(parse_address(line));
      op.c = Ref::raw(u32(block_.mems.size() - 1));
    } else if (op.opcode == Opcode::Call) {
      return parse_call_args(line, op);
    } else if (is_operand(row.a) && wants(line, op)) {
      op.a = EMU_TRY(parse_operand(line));
    }
    if (op.opcode == Opcode::Cas || op.opcode == Opcode::Vec3) {
      const Ref expected = EMU_TRY(parse_operand(line)), desired = EMU_TRY(parse_operand(line));
      op.b = Ref::raw(u32(block_.args.size()));
      block_.args.push_back(expected);
      block_.args.push_back(desired);
    } else if (is_operand(row.b) && wants(line, op)) {
      op.b = EMU_TRY(parse_operand(line));
    }
    if (is_operand(row.c) && wants(line, op)) op.c = EMU_TRY(parse_operand(line));
    return {};
  }

  /// Vec and X87 may have fewer operands than their rows.
  bool wants(Line& line, const Op& op) {
    if (op.opcode != Opcode::Vec && op.opcode != Opcode::X87) return true;
    Line ahead = line;
    return ahead.take(',') && ahead.peek() != '#';
  }

  Result<void> parse_call_args(Line& line, Op& op) {
    const u32 start = u32(block_.args.size());
    while (!line.at_end()) block_.args.push_back(EMU_TRY(parse_operand(line)));
    op.a = Ref::raw(start);
    op.b = Ref::raw(u32(block_.args.size()) - start);
    return {};
  }

  Result<Ref> parse_operand(Line& line) {
    EMU_TRY(next(line));
    return parse_reference(line);
  }

  Result<Ref> parse_reference(Line& line) {
    if (line.peek() == 'v') {
      const std::string_view name = line.word();
      const auto found = values_.find(name);
      if (found == values_.end()) return error("{} is not made yet", name);
      return Ref::value(found->second);
    }
    if (line.peek() == 'p') {
      if (line.word() != "pc" || !line.take('(')) return error("pc( expected");
      const u64 pc = EMU_TRY(line.number());
      if (!line.take(')')) return error("')' expected");
      block_.pool.push_back({pc, true});
      return Ref::pool_constant(u32(block_.pool.size() - 1));
    }
    const u64 v = EMU_TRY(line.number());
    if (Ref::fits_inline(i64(v))) return Ref::inline_constant(i64(v));
    block_.pool.push_back({v, false});
    return Ref::pool_constant(u32(block_.pool.size() - 1));
  }

  Result<Ref> parse_address(Line& line) {
    EMU_TRY(next(line));
    MemInfo mem;
    Ref base;
    if (!line.take('[')) return error("'[' expected");
    const bool has_value = line.peek() == 'v' || line.peek() == 'p';
    Line ahead = line;
    const u64 first = has_value ? 0 : EMU_TRY(ahead.number());
    const bool has_base = has_value || ahead.peek() == '+' || ahead.peek() == '-';
    if (has_base) {
      base = EMU_TRY(parse_reference(line));
      const bool plus = line.take('+');
      if (plus || line.peek() == '-') mem.disp = i32(EMU_TRY(spaced_number(line)));
    } else {
      line = ahead;
      mem.disp = i32(first);
      if (u64(i64(mem.disp)) != first) return error("displacement {:#x} needs more than 32 bits", first);
    }
    if (!line.take(']')) return error("']' expected");
    mem.log2_bytes = EMU_TRY(parse_log2(line));
    while (line.peek() != ',' && !line.at_end()) EMU_TRY(parse_access(line, mem));
    block_.mems.push_back(mem);
    return base;
  }
  static Result<u64> spaced_number(Line& line) {
    const bool negative = line.take('-');
    const u64 v = EMU_TRY(line.number());
    return negative ? 0 - v : v;
  }
  static Result<u8> parse_log2(Line& line) {
    const u64 v = EMU_TRY(line.number());
    if (v == 0 || v > 128 || (v & (v - 1)) != 0) return error("{} is not a power of two up to 128", v);
    return u8(__builtin_ctzll(v));
  }

  Result<void> parse_access(Line& line, MemInfo& mem) {
    const std::string_view key = line.word();
    if (key == "sext") return mem.extend = Extend::Sign, Result<void>{};
    if (key == "align_fault") return mem.align_fault = true, Result<void>{};
    if (key == "atomic") return mem.atomic = true, Result<void>{};
    if (key == "big_endian") return mem.big_endian = true, Result<void>{};
    if (key == "stack") return mem.stack = true, Result<void>{};
    if (key == "write_intent") return mem.write_intent = true, Result<void>{};
    if (!line.take('=')) return error("no such access property '{}'", key);
    if (key == "view") return mem.view = u8(EMU_TRY(line.number())), Result<void>{};
    if (key == "align") return mem.align_log2 = EMU_TRY(parse_log2(line)), Result<void>{};
    if (key == "order") {
      mem.order = Order(EMU_TRY(find_name(text::kOrderNames, line.word(), "memory order")));
      return {};
    }
    return error("no such access property '{}'", key);
  }

  Result<void> parse_after(Line& line, Op& op) {
    switch (op.opcode) {
      case Opcode::Vec:
      case Opcode::Vec3:
        if (!info(vec_op_of(op.c.bits())).immediate) return {};
        [[fallthrough]];
      case Opcode::X87:
        op.c = Ref::raw(pack_sub_op(op.c.bits(), u32(EMU_TRY(parse_raw(line)))));
        return {};
      case Opcode::Get:
      case Opcode::Set:
      case Opcode::CmpSet:
      case Opcode::FlIs:
      case Opcode::Call:
        return {};
      default:
        if (info(op.opcode).c == Kind::Raw) op.c = Ref::raw(u32(EMU_TRY(parse_raw(line))));
        return {};
    }
  }
  Result<u64> parse_raw(Line& line) {
    EMU_TRY(next(line));
    if (!line.take('#')) return error("'#' expected");
    return line.number();
  }

  Result<void> append(const Op& op, std::string_view name) {
    const bool has_value = result_type(op) != Type::Void;
    if (has_value == name.empty())
      return error("{} {} a value", info(op.opcode).text, has_value ? "makes" : "makes no");
    if (has_value) {
      u32 id = 0;
      const auto [end, code] = std::from_chars(name.data() + 1, name.data() + name.size(), id);
      if (name[0] != 'v' || code != std::errc() || end != name.data() + name.size() || id >= (1u << 16)) {
        return error("'{}' is not a value name", name);
      }
      while (block_.ops.size() < id) block_.ops.push_back(Op{});
      values_[name] = u32(block_.ops.size());
    }
    block_.ops.push_back(op);
    return {};
  }

  const StateLayout& layout_;
  const HelperTable& helpers_;
  Block& block_;
  std::unordered_map<std::string_view, Opcode> opcodes_;
  std::unordered_map<std::string_view, u32> values_;
  bool first_ = true;
};

}  // namespace

Result<void> parse(std::string_view text, const StateLayout& layout, const HelperTable& helpers, Block& block) {
  return Parser(layout, helpers, block).run(text);
}

}  // namespace emu::ir
