// SPDX-License-Identifier: Apache-2.0
// The table is a run of points, each the difference from the one before it. A point:
//   tag byte (Tag below) · key and what the tag announces, as LEB128 numbers, signed ones zigzagged.
#include "tcg/ir/side_table.h"

#include <array>
#include <cstring>

#include "tcg/abi/env.h"
#include "util/check.h"

namespace emu::ir {
namespace {

enum Tag : u8 {
  kNextInsn = 1,   ///< the guest instruction behind the last point's; next_pc_delta follows
  kOtherInsn = 2,  ///< all three positions follow
  kInsnMask = 3,
  kFields = 4,   ///< another field map than the last point's follows
  kFlags = 8,    ///< another flags location follows
  kResume = 16,  ///< resume follows; else 0
  kRetry = 32,
  kAccess = 64,
};

constexpr u64 zigzag(i64 v) { return u64(v) << 1 ^ u64(v >> 63); }
constexpr i64 unzigzag(u64 v) { return i64(v >> 1 ^ (0 - (v & 1))); }

/// A location is a number whose low bits say what the others are, or one of the first three, by themselves.
enum LocationTag : u64 {
  kNone = 0,
  kLongConstant = 4,  ///< all 64 bits follow
  kLongFromPc = 8,
  kConstant = 1,
  kState = 2,
  kFromPc = 3,
  kLocationMask = 3,
};

/// Writes where `out` points to and moves it on: there is room, see kMostOfPoint.
void put(u8*& out, u64 v) {
  for (; v >= 0x80; v >>= 7) *out++ = u8(v | 0x80);
  *out++ = u8(v);
}

void put(u8*& out, const Location& at) {
  switch (at.where) {
    case Location::Where::None:
      put(out, kNone);
      break;
    case Location::Where::State:
      put(out, at.value << 2 | kState);
      break;
    case Location::Where::Pc:
    case Location::Where::Constant: {
      const bool from_pc = at.where == Location::Where::Pc;
      if (zigzag(i64(at.value)) >> 62 == 0) {
        put(out, zigzag(i64(at.value)) << 2 | (from_pc ? kFromPc : kConstant));
      } else {
        put(out, from_pc ? kLongFromPc : kLongConstant);
        put(out, at.value);
      }
      break;
    }
  }
}

/// Everything of a MemInfo but the displacement and the view.
u32 mem_bits(const MemInfo& m) {
  return u32(m.log2_bytes) | u32(m.extend) << 3 | u32(m.align_log2) << 4 | u32(m.align_fault) << 7 |
         u32(m.atomic) << 8 | u32(m.big_endian) << 9 | u32(m.stack) << 10 | u32(m.write_intent) << 11 |
         u32(m.order) << 12 | u32(m.view != kCurrentView) << 15;
}

void put(u8*& out, const AccessRecord& a) {
  // Opcodes of accesses lie close together; RmwOp needs 3 bits, Type 4.
  put(out, (u64(a.opcode) - u64(Opcode::Ld)) << 8 | u64(a.unshares) << 7 | u64(a.rmw) << 4 | u64(a.type));
  put(out, mem_bits(a.mem));
  if (a.mem.view != kCurrentView) *out++ = a.mem.view;
  put(out, zigzag(a.mem.disp));
  put(out, a.value);
  put(out, a.expected);
  put(out, a.result);
}

bool same(const Location& x, const Location& y) { return x.where == y.where && x.value == y.value; }
bool same(const FlagsLocation& x, const FlagsLocation& y) {
  return x.at_home == y.at_home && (x.at_home || (x.cc_op == y.cc_op && same(x.a, y.a) && same(x.b, y.b)));
}
bool same(const std::vector<FieldLocation>& x, const std::vector<FieldLocation>& y) {
  if (x.size() != y.size()) return false;
  for (size_t i = 0; i < x.size(); ++i) {
    if (x[i].field != y[i].field || !same(x[i].at, y[i].at)) return false;
  }
  return true;
}

/// Reads what put() wrote; a truncated table gives zeros and ok() false.
class Reader {
 public:
  Reader(std::span<const u8> bytes, u64 pc) : bytes_(bytes), pc_(pc) {}
  bool at_end() const { return bytes_.empty(); }
  bool ok() const { return ok_; }

  u8 byte() {
    if (bytes_.empty()) {
      ok_ = false;
      return 0;
    }
    const u8 b = bytes_.front();
    bytes_ = bytes_.subspan(1);
    return b;
  }
  u64 number() {
    u64 v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const u8 b = byte();
      v |= u64(b & 0x7f) << shift;
      if (!(b & 0x80)) break;
    }
    return v;
  }
  i64 signed_number() { return unzigzag(number()); }

  Location location() {
    const u64 v = number();
    switch (v & kLocationMask) {
      case kConstant:
        return {Location::Where::Constant, u64(unzigzag(v >> 2))};
      case kState:
        return {Location::Where::State, v >> 2};
      case kFromPc:
        return {Location::Where::Constant, pc_ + u64(unzigzag(v >> 2))};
      default:
        if (v == kNone) return {};
        return {Location::Where::Constant, number() + (v == kLongFromPc ? pc_ : 0)};
    }
  }

  AccessRecord access() {
    AccessRecord a;
    const u64 head = number();
    a.opcode = Opcode(u64(Opcode::Ld) + (head >> 8));
    a.unshares = head >> 7 & 1;
    a.rmw = RmwOp(head >> 4 & 7);
    a.type = Type(head & 15);
    const u32 m = u32(number());
    a.mem.log2_bytes = m & 7;
    a.mem.extend = Extend(m >> 3 & 1);
    a.mem.align_log2 = m >> 4 & 7;
    a.mem.align_fault = m >> 7 & 1;
    a.mem.atomic = m >> 8 & 1;
    a.mem.big_endian = m >> 9 & 1;
    a.mem.stack = m >> 10 & 1;
    a.mem.write_intent = m >> 11 & 1;
    a.mem.order = Order(m >> 12 & 7);
    if (m >> 15 & 1) a.mem.view = byte();
    a.mem.disp = i32(signed_number());
    a.value = location();
    a.expected = location();
    a.result = location();
    return a;
  }

 private:
  std::span<const u8> bytes_;
  const u64 pc_;
  bool ok_ = true;
};

void read_point(Reader& in, RecoveryPoint& p) {
  const u8 tag = in.byte();
  p.key += u32(in.signed_number());
  if ((tag & kInsnMask) == kNextInsn) {
    ++p.insn_index;
    p.pc_delta = p.next_pc_delta;
    p.next_pc_delta = u32(p.pc_delta + in.number());
  } else if ((tag & kInsnMask) == kOtherInsn) {
    p.pc_delta = u32(in.number());
    p.insn_index = u32(in.number());
    p.next_pc_delta = u32(p.pc_delta + in.signed_number());
  }
  if (tag & kFields) {
    p.fields.clear();
    for (u64 n = in.number(); n > 0 && in.ok(); --n) {
      const auto field = FieldId(in.number());
      p.fields.push_back({field, in.location()});
    }
  }
  if (tag & kFlags) {
    p.flags = {};
    const u64 op = in.number();
    if (op != 0) p.flags = {false, u32(op - 1), in.location(), in.location()};
  }
  p.resume = tag & kResume ? p.key + u32(in.signed_number()) : 0;
  p.retry = tag & kRetry ? p.key + u32(in.signed_number()) : 0;
  p.access = tag & kAccess ? in.access() : AccessRecord{};
}

}  // namespace

// At most: a number has ten bytes, a location two numbers.
constexpr size_t kMostOfPoint = 1 + 4 * 10 + 10 + 5 * 10 + 20 + 3 * 10 + 1 + 6 * 10, kMostOfField = 3 * 10;

void SideTableWriter::clear() {
  bytes_.clear();
  last_.key = last_.pc_delta = last_.insn_index = last_.next_pc_delta = 0;
  last_.fields.clear();
  last_.flags = {};
}

void SideTableWriter::add(const RecoveryPoint& p) {
  const size_t most = kMostOfPoint + p.fields.size() * kMostOfField;
  const size_t begin = bytes_.size();
  bytes_.resize(begin + most);
  u8* const tag_at = bytes_.data() + begin;
  u8* out = tag_at + 1;
  u8 tag = 0;
  put(out, zigzag(i32(p.key - last_.key)));
  if (p.insn_index == last_.insn_index + 1 && p.pc_delta == last_.next_pc_delta && p.next_pc_delta >= p.pc_delta) {
    tag |= kNextInsn;
    put(out, p.next_pc_delta - p.pc_delta);
  } else if (p.insn_index != last_.insn_index || p.pc_delta != last_.pc_delta ||
             p.next_pc_delta != last_.next_pc_delta) {
    tag |= kOtherInsn;
    put(out, p.pc_delta);
    put(out, p.insn_index);
    put(out, zigzag(i64(p.next_pc_delta) - p.pc_delta));
  }
  if (!same(p.fields, last_.fields)) {
    tag |= kFields;
    put(out, p.fields.size());
    for (const FieldLocation& f : p.fields) {
      put(out, f.field);
      put(out, f.at);
    }
    last_.fields.assign(p.fields.begin(), p.fields.end());
  }
  if (!same(p.flags, last_.flags)) {
    tag |= kFlags;
    put(out, p.flags.at_home ? 0 : u64(p.flags.cc_op) + 1);
    if (!p.flags.at_home) {
      put(out, p.flags.a);
      put(out, p.flags.b);
    }
    last_.flags = p.flags;
  }
  if (p.resume != 0) tag |= kResume, put(out, zigzag(i32(p.resume - p.key)));
  if (p.retry != 0) tag |= kRetry, put(out, zigzag(i32(p.retry - p.key)));
  if (p.access.opcode != Opcode::Nop) tag |= kAccess, put(out, p.access);
  *tag_at = tag;
  bytes_.resize(size_t(out - bytes_.data()));
  last_.key = p.key;
  last_.pc_delta = p.pc_delta;
  last_.insn_index = p.insn_index;
  last_.next_pc_delta = p.next_pc_delta;
}

size_t SideTableWriter::finish(std::vector<u8>& out) {
  out.insert(out.end(), bytes_.begin(), bytes_.end());
  return bytes_.size();
}

std::optional<RecoveryPoint> find_recovery_point(std::span<const u8> table, u32 key, u64 pc) {
  Reader in(table, pc);
  RecoveryPoint point;
  while (!in.at_end()) {
    read_point(in, point);
    if (!in.ok()) break;
    if (point.key == key) return point;
  }
  return std::nullopt;
}

void apply_recovery(const RecoveryPoint& point, const StateLayout& layout, tcg::EnvHeader& env) {
  u8* const state = reinterpret_cast<u8*>(&env);
  const auto read = [&](const Location& at, size_t bytes) {
    std::array<u8, 32> data{};
    if (at.where == Location::Where::State) {
      EMU_CHECK(at.value + bytes <= layout.size);
      std::memcpy(data.data(), state + at.value, bytes);
    } else if (at.where == Location::Where::Constant) {
      std::memcpy(data.data(), &at.value, sizeof(at.value));
    }
    return data;
  };
  const auto bytes_of = [&](const FieldLocation& f) { return size_t(1) << log2_bytes(layout.field(f.field).type); };

  // Read everything before writing: one field's slot may be another's home.
  std::vector<std::array<u8, 32>> values;
  values.reserve(point.fields.size());
  for (const FieldLocation& f : point.fields) values.push_back(read(f.at, bytes_of(f)));
  const auto flags_a = read(point.flags.a, sizeof(u64)), flags_b = read(point.flags.b, sizeof(u64));

  for (size_t i = 0; i < values.size(); ++i) {
    const FieldLocation& f = point.fields[i];
    if (f.at.where == Location::Where::None) continue;
    std::memcpy(state + layout.field(f.field).offset, values[i].data(), bytes_of(f));
  }
  if (!point.flags.at_home) {
    env.cc_op = point.flags.cc_op;
    std::memcpy(&env.cc_a, flags_a.data(), sizeof(u64));
    std::memcpy(&env.cc_b, flags_b.data(), sizeof(u64));
  }
}

}  // namespace emu::ir
