// SPDX-License-Identifier: Apache-2.0
#include "case.h"
#include "groups.h"
void msr_cases(void) {}
