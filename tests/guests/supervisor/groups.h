// SPDX-License-Identifier: Apache-2.0
// The groups of cases.
#pragma once

void segment_cases(void);
void task_cases(void);
void virtual_cases(void);
void real_cases(void);
void paging_cases(void);
void debug_cases(void);
void long_cases(void);
void msr_cases(void);
void apic_cases(void);
