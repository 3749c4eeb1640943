// SPDX-License-Identifier: Apache-2.0
#include "case.h"
#include "groups.h"
void apic_cases(void) {}
