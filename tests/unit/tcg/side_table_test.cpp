// SPDX-License-Identifier: Apache-2.0
#include "tcg/ir/side_table.h"

#include <gtest/gtest.h>

#include "unit/tcg/random_block.h"

namespace emu::test {
namespace {

using ir::Location;
using ir::RecoveryPoint;

Location draw_location(RandomBlock& random) {
  switch (random.below(3)) {
    case 0:
      return {};
    case 1:
      return {Location::Where::Constant, random.awkward()};
    default:
      return {Location::Where::State, random.below(4096)};
  }
}

RecoveryPoint draw_point(RandomBlock& random, const RecoveryPoint& last) {
  RecoveryPoint p = last;
  p.key = last.key + 1 + random.below(random.chance(90) ? 60 : 100000);
  if (random.chance(50)) {
    p.pc_delta = random.chance(80) ? last.next_pc_delta : random.below(4096);
    p.insn_index = last.insn_index + 1;
    p.next_pc_delta = p.pc_delta + random.below(16);
  }
  if (random.chance(30)) {
    p.fields.clear();
    for (unsigned n = random.below(5); n > 0; --n)
      p.fields.push_back({ir::FieldId(random.below(100)), draw_location(random)});
  }
  if (random.chance(30)) {
    p.flags = {};
    if (random.chance(70)) p.flags = {false, random.below(48), draw_location(random), draw_location(random)};
  }
  p.resume = random.chance(50) ? p.key + random.below(100) : 0;
  p.retry = random.chance(50) ? 1 + random.below(1000) : 0;
  p.access = {};
  if (random.chance(70)) {
    p.access.opcode = ir::Opcode(u16(ir::Opcode::Ld) + random.below(5));
    p.access.type = ir::Type(1 + random.below(7));
    p.access.rmw = ir::RmwOp(random.below(6));
    p.access.mem = {i32(random.awkward()),       u8(random.below(6)),
                    ir::Extend(random.below(2)), random.chance(50) ? ir::kCurrentView : u8(random.below(4)),
                    u8(random.below(5)),         random.chance(20),
                    random.chance(20),           random.chance(20),
                    random.chance(20),           random.chance(20),
                    ir::Order(random.below(5))};
    p.access.value = draw_location(random);
    p.access.expected = draw_location(random);
    p.access.result = draw_location(random);
  }
  return p;
}

void expect_equal(const Location& x, const Location& y) {
  EXPECT_EQ(x.where, y.where);
  EXPECT_EQ(x.value, y.value);
}

void expect_equal(const RecoveryPoint& x, const RecoveryPoint& y) {
  EXPECT_EQ(x.key, y.key);
  EXPECT_EQ(x.pc_delta, y.pc_delta);
  EXPECT_EQ(x.insn_index, y.insn_index);
  EXPECT_EQ(x.next_pc_delta, y.next_pc_delta);
  EXPECT_EQ(x.resume, y.resume);
  EXPECT_EQ(x.retry, y.retry);
  ASSERT_EQ(x.fields.size(), y.fields.size());
  for (size_t i = 0; i < x.fields.size(); ++i) {
    EXPECT_EQ(x.fields[i].field, y.fields[i].field);
    expect_equal(x.fields[i].at, y.fields[i].at);
  }
  EXPECT_EQ(x.flags.at_home, y.flags.at_home);
  if (!x.flags.at_home) {
    EXPECT_EQ(x.flags.cc_op, y.flags.cc_op);
    expect_equal(x.flags.a, y.flags.a);
    expect_equal(x.flags.b, y.flags.b);
  }
  EXPECT_EQ(x.access.opcode, y.access.opcode);
  if (x.access.opcode == ir::Opcode::Nop) return;
  EXPECT_EQ(x.access.type, y.access.type);
  EXPECT_EQ(x.access.rmw, y.access.rmw);
  EXPECT_EQ(x.access.mem.disp, y.access.mem.disp);
  EXPECT_EQ(x.access.mem.log2_bytes, y.access.mem.log2_bytes);
  EXPECT_EQ(x.access.mem.extend, y.access.mem.extend);
  EXPECT_EQ(x.access.mem.view, y.access.mem.view);
  EXPECT_EQ(x.access.mem.align_log2, y.access.mem.align_log2);
  EXPECT_EQ(x.access.mem.align_fault, y.access.mem.align_fault);
  EXPECT_EQ(x.access.mem.atomic, y.access.mem.atomic);
  EXPECT_EQ(x.access.mem.big_endian, y.access.mem.big_endian);
  EXPECT_EQ(x.access.mem.stack, y.access.mem.stack);
  EXPECT_EQ(x.access.mem.write_intent, y.access.mem.write_intent);
  EXPECT_EQ(x.access.mem.order, y.access.mem.order);
  expect_equal(x.access.value, y.access.value);
  expect_equal(x.access.expected, y.access.expected);
  expect_equal(x.access.result, y.access.result);
}

TEST(SideTable, every_point_is_found_as_it_was_added) {
  RandomBlock random(3);
  ir::SideTableWriter writer;
  for (int table = 0; table < 50; ++table) {
    std::vector<RecoveryPoint> points;
    RecoveryPoint point;
    for (int i = 0; i < 40; ++i) points.push_back(point = draw_point(random, point));
    if (table % 2) std::swap(points[3], points[30]);  // keys in no order
    writer.clear();
    for (const RecoveryPoint& p : points) writer.add(p);
    std::vector<u8> bytes = {0xee};  // finish() appends
    const size_t size = writer.finish(bytes);
    ASSERT_EQ(bytes.size(), size + 1);
    const std::span<const u8> encoded(bytes.data() + 1, size);
    for (const RecoveryPoint& p : points) {
      const auto found = ir::find_recovery_point(encoded, p.key, 0x1000);
      ASSERT_TRUE(found);
      expect_equal(p, *found);
    }
    EXPECT_FALSE(ir::find_recovery_point(encoded, 0xfffffff0, 0));
    for (size_t cut = 0; cut < size; ++cut) (void)ir::find_recovery_point(encoded.first(cut), points.back().key, 0);
  }
}

TEST(SideTable, constants_from_the_pc_move_with_it) {
  for (const u64 distance : {u64(0), u64(0x20), u64(-0x7fffffff), u64(1) << 61, u64(1) << 63}) {
    RecoveryPoint p;
    p.key = 12;
    p.access = {.opcode = ir::Opcode::St, .type = ir::Type::I64, .value = {Location::Where::Pc, distance}};
    ir::SideTableWriter writer;
    writer.add(p);
    std::vector<u8> bytes;
    writer.finish(bytes);
    for (const u64 pc : {u64(0x1000), u64(0x7f12'3456'7000)}) {
      const auto found = ir::find_recovery_point(bytes, 12, pc);
      ASSERT_TRUE(found);
      expect_equal(found->access.value, {Location::Where::Constant, pc + distance});
    }
  }
}

TEST(SideTable, an_ordinary_load_takes_few_bytes) {
  ir::SideTableWriter writer;
  RecoveryPoint p;
  p.fields = {{3, {Location::Where::State, 0x158}}};
  for (u32 i = 0; i < 10; ++i) {
    p.key += 46;
    p.insn_index = i;
    p.pc_delta = p.next_pc_delta;
    p.next_pc_delta += 4;
    writer.add(p);
  }
  std::vector<u8> bytes;
  writer.finish(bytes);
  EXPECT_LE(bytes.size(), 4 * 10 + 10u);
}

TEST(SideTable, recovery_moves_fields_and_flags_home) {
  const ir::StateLayout layout = guest_layout();
  GuestState state;
  state.regs[0] = 1, state.regs[1] = 2;
  state.hdr.spill[0] = 0x1122334455667788;
  std::memset(state.hdr.vector_spill[1], 0xab, 16);
  const auto home = [&](u32 field) { return Location{Location::Where::State, layout.fields[field].offset}; };
  RecoveryPoint p;
  p.fields = {{kR0, home(kR0 + 1)},  // a swap of two homes
              {kR0 + 1, home(kR0)},
              {kR0 + 2, {Location::Where::Constant, ~u64(0)}},
              {kB0, {Location::Where::State, offsetof(tcg::EnvHeader, spill)}},
              {kX0, {Location::Where::State, offsetof(tcg::EnvHeader, vector_spill) + 64}}};
  p.flags = {false, tcg::cc_op(tcg::CcKind::Logic, 3), home(kR0), {Location::Where::Constant, 7}};
  ir::apply_recovery(p, layout, state.hdr);
  EXPECT_EQ(state.regs[0], 2u);
  EXPECT_EQ(state.regs[1], 1u);
  EXPECT_EQ(state.regs[2], ~u64(0));
  EXPECT_EQ(state.b0, 0x88u);
  EXPECT_EQ(state.vec[0].bytes[15], 0xab);
  EXPECT_EQ(state.vec[0].bytes[16], 0);
  EXPECT_EQ(state.hdr.cc_a, 1u) << "read before the homes changed";
  EXPECT_EQ(state.hdr.cc_b, 7u);
}

}  // namespace
}  // namespace emu::test
