// SPDX-License-Identifier: Apache-2.0
// The register map that the cards of the family share, SDM §13.
#pragma once

#include "hw/net/e1000.h"

namespace emu::hw {

template <typename T>
RegisterTable<T, E1000Core::State>& E1000Core::describe_registers(TypeInfo<T>& type) {
  using C = E1000Core;
  using S = State;
  constexpr u64 kAll = ~u32(0);
  constexpr u64 kRegistersBytes = 0x20000;
  auto& table = type.registers("mmio", kRegistersBytes, &T::state_);
  table.access(4, 4);
  table.reg(CTRL, "CTRL", {.read = &C::read_ctrl, .write = &C::write_ctrl})
      .reg(STATUS, "STATUS", {.read = &C::read_status})
      .reg(EECD, "EECD", {.read = &C::read_eecd, .write = &C::write_eecd})
      .reg(EERD, "EERD", {.read = &C::read_eerd, .write = &C::write_eerd})
      .reg(CTRL_EXT, "CTRL_EXT", &S::ctrl_ext, {.rw = kAll})
      .reg(FLA, "FLA", &S::fla, {.rw = kAll})
      .reg(MDIC, "MDIC", {.read = &C::read_mdic, .write = &C::write_mdic})
      .reg(FCAL, "FCAL", &S::fcal, {.rw = kAll})
      .reg(FCAH, "FCAH", &S::fcah, {.rw = 0xffff})
      .reg(FCT, "FCT", &S::fct, {.rw = 0xffff})
      .reg(VET, "VET", &S::vet, {.rw = 0xffff})
      .reg(ICR, "ICR", {.read = &C::read_icr, .write = &C::write_icr})
      .reg(ICS, "ICS", {.write = &C::write_ics})
      .reg(IMS, "IMS", {.read = &C::read_ims, .write = &C::write_ims})
      .reg(IMC, "IMC", {.write = &C::write_imc})
      .reg(RCTL, "RCTL", {.read = &C::read_rctl, .write = &C::write_rctl})
      .reg(FCTTV, "FCTTV", &S::fcttv, {.rw = 0xffff})
      .reg(TXCW, "TXCW", &S::txcw, {.rw = kAll})
      .reg(RXCW, "RXCW", &S::rxcw, {.ro = kAll})
      .reg(TCTL, "TCTL", {.read = &C::read_tctl, .write = &C::write_tctl})
      .reg(TIPG, "TIPG", &S::tipg, {.rw = 0x3fff'ffff})
      .reg(AIT, "AIT", &S::ait, {.rw = 0xffff})
      .reg(LEDCTL, "LEDCTL", &S::ledctl, {.rw = kAll})
      .reg(PBA, "PBA", &S::pba, {.rw = 0xffff'ffff})
      .reg(FCRTL, "FCRTL", &S::fcrtl, {.rw = kAll})
      .reg(FCRTH, "FCRTH", &S::fcrth, {.rw = kAll})
      .reg(RDBAL, "RDBAL", {.read = &C::read_rdbal, .write = &C::write_rdbal})
      .reg(RDBAH, "RDBAH", {.read = &C::read_rdbah, .write = &C::write_rdbah})
      .reg(RDLEN, "RDLEN", {.read = &C::read_rdlen, .write = &C::write_rdlen})
      .reg(RDH, "RDH", {.read = &C::read_rdh, .write = &C::write_rdh})
      .reg(RDT, "RDT", {.read = &C::read_rdt, .write = &C::write_rdt})
      .reg(RDTR, "RDTR", &S::rdtr, {.rw = 0xffff})
      .reg(RXDCTL, "RXDCTL", &S::rxdctl, {.rw = kAll})
      .reg(RADV, "RADV", &S::radv, {.rw = 0xffff})
      .reg(RSRPD, "RSRPD", &S::rsrpd, {.rw = 0xfff})
      .reg(TDBAL, "TDBAL", {.read = &C::read_tdbal, .write = &C::write_tdbal})
      .reg(TDBAH, "TDBAH", {.read = &C::read_tdbah, .write = &C::write_tdbah})
      .reg(TDLEN, "TDLEN", {.read = &C::read_tdlen, .write = &C::write_tdlen})
      .reg(TDH, "TDH", {.read = &C::read_tdh, .write = &C::write_tdh})
      .reg(TDT, "TDT", {.read = &C::read_tdt, .write = &C::write_tdt})
      .reg(TIDV, "TIDV", &S::tidv, {.rw = 0xffff})
      .reg(TXDCTL, "TXDCTL", &S::txdctl, {.rw = kAll})
      .reg(TADV, "TADV", &S::tadv, {.rw = 0xffff})
      .reg(TSPMT, "TSPMT", &S::tspmt, {.rw = kAll})
      .regs(STATISTICS, "statistics", 4, 64, {.read = &C::read_statistic})
      .reg(RXCSUM, "RXCSUM", &S::rxcsum, {.rw = 0xf7ff})
      .regs(MTA, "MTA", 4, &S::mta, {.rw = kAll})
      .regs(RA, "RA", 4, &S::ra, {.rw = kAll})
      .regs(VFTA, "VFTA", 4, &S::vfta, {.rw = kAll})
      .reg(WUC, "WUC", &S::wuc, {.rw = 0xf})
      .reg(WUFC, "WUFC", &S::wufc, {.rw = 0xf'ffff})
      .reg(WUS, "WUS", &S::wus, {.w1c = 0xf'ffff})
      .reg(MANC, "MANC", &S::manc, {.rw = kAll})
      .reg(IPAV, "IPAV", &S::ipav, {.rw = kAll});
  return table;
}

}  // namespace emu::hw
