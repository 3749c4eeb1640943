// SPDX-License-Identifier: Apache-2.0
// Registers of the local APIC, memory-mapped form. Intel SDM volume 3, chapter "APIC".
#pragma once

#include "guest.h"

enum {
  kLapicBase = 0xfee00000,
  LAPIC_ID = 0x20,
  LAPIC_VERSION = 0x30,
  LAPIC_EOI = 0xb0,
  LAPIC_SPURIOUS = 0xf0,
  LAPIC_ICR_LOW = 0x300,
  LAPIC_ICR_HIGH = 0x310,
  LAPIC_LVT_TIMER = 0x320,
  LAPIC_INITIAL_COUNT = 0x380,
  LAPIC_CURRENT_COUNT = 0x390,
  LAPIC_DIVIDE = 0x3e0,
  kLapicEnabled = 0x100,
  kSpuriousVector = 0xff,
  kTimerPeriodic = 0x20000,
  kTimerDeadline = 0x40000,
  kMasked = 0x10000,
  kDivideBy1 = 0xb,
  kIcrInit = 0x500,
  kIcrStartUp = 0x600,
  kIcrAssert = 0x4000,
  kIcrPending = 0x1000,
  kIcrAllButSelf = 0xc0000,
};

static inline volatile uint32_t* lapic(uint32_t offset) { return (volatile uint32_t*)(word)(kLapicBase + offset); }
static inline void lapic_enable(void) { *lapic(LAPIC_SPURIOUS) = kLapicEnabled | kSpuriousVector; }
static inline void lapic_end_of_interrupt(void) { *lapic(LAPIC_EOI) = 0; }
