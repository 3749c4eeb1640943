// SPDX-License-Identifier: Apache-2.0
#include "tcg/host/x86_64/registers.h"

namespace emu::tcg::x86_64 {
namespace {

using ir::Pin;

constexpr std::array<Reg, 8> kGeneral = {rbx, rbp, rsi, rdi, r8, r12, r13, r14};
constexpr unsigned kPinnedWithoutAvx512 = 13;

Result<void> pin_integer(RegisterMap& map, ir::FieldId id, const ir::StateField& field, Reg reg) {
  if (field.type != ir::Type::I64) return error("state field {}: only I64 integers can be pinned", field.name);
  if (map.gpr_field[reg] != kNoField) return error("state field {}: its pin role is taken", field.name);
  map.gpr_field[reg] = id;
  map.gpr_home[reg] = i32(field.offset);
  map.field_register[id] = reg;
  return {};
}

Result<void> pin_vector(RegisterMap& map, ir::FieldId id, const ir::StateField& field, unsigned index) {
  if (!ir::is_vector(field.type)) return error("state field {}: not a vector", field.name);
  map.xmm_field[index] = id;
  map.xmm_home[index] = i32(field.offset);
  map.field_register[id] = u8(index);
  return {};
}

}  // namespace

Result<RegisterMap> make_register_map(const ir::StateLayout& layout, const HostFeatures& features) {
  RegisterMap map;
  map.gpr_field.fill(kNoField);
  map.gpr_home.fill(-1);
  map.xmm_field.fill(kNoField);
  map.xmm_home.fill(-1);
  map.field_register.assign(layout.fields.size(), kNoHostRegister);

  const unsigned vector_limit = features.avx512vl ? 16 : kPinnedWithoutAvx512;
  unsigned general = 0, vectors = 0, vectors_wanted = 0;
  for (size_t i = 0; i < layout.fields.size(); ++i) {
    const ir::StateField& field = layout.fields[i];
    const ir::FieldId id = ir::FieldId(i);
    if (ir::is_vector(field.type) && field.offset % (ir::width(field.type) / 8))
      return error("state field {}: not aligned", field.name);
    switch (field.pin) {
      case Pin::None:
        break;
      case Pin::MulLow:
        EMU_TRY(pin_integer(map, id, field, rax));
        break;
      case Pin::MulHigh:
        EMU_TRY(pin_integer(map, id, field, rdx));
        break;
      case Pin::ShiftCount:
        EMU_TRY(pin_integer(map, id, field, rcx));
        break;
      case Pin::General:
        if (general < kGeneral.size()) EMU_TRY(pin_integer(map, id, field, kGeneral[general++]));
        break;
      case Pin::Vector:
        if (++vectors_wanted > 16) return error("state field {}: more than 16 vectors are pinned", field.name);
        if (vectors < vector_limit) EMU_TRY(pin_vector(map, id, field, vectors++));
        break;
    }
  }
  for (unsigned i = 0; i < kScratch.size(); ++i) map.gpr_home[kScratch[i]] = offset_of_scratch(i);
  // Scratch vectors save to the upper half of vector_spill; the lower half is for values that got no register.
  const unsigned first = features.avx512vl ? 16 : kPinnedWithoutAvx512, count = 3;
  for (unsigned i = 0; i < count; ++i) {
    map.vector_scratch.push_back(Xmm(first + i));
    map.xmm_home[first + i] = offset_of_vector_spill(kVectorSpillSlots / 2 + i);
  }
  if (features.avx512vl) map.borrow_save = xmm19;
  map.has_avx512 = features.avx512vl;
  return map;
}

}  // namespace emu::tcg::x86_64
