// SPDX-License-Identifier: Apache-2.0
#include "case.h"
#include "groups.h"

void main(void) {
  fresh();
  segment_cases();
  task_cases();
  paging_cases();
  debug_cases();
  print("END\n");
}
