// SPDX-License-Identifier: Apache-2.0
#include "case.h"
#include "groups.h"

void main(void) {
  fresh();
  print("END\n");
}
