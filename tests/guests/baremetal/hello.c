// SPDX-License-Identifier: Apache-2.0
// Reaches main in the mode it was built for and says so on debugcon and UART.
#include "guest.h"

extern uint32_t boot_magic;

void main(void) {
#ifdef PVH
  extern uint32_t boot_info;  // struct hvm_start_info
  CHECK_EQUAL(*(const uint32_t*)(word)boot_info, 0x336ec578);
#else
  CHECK_EQUAL(boot_magic, 0x2badb002);
#endif
  print(sizeof(word) == 8 ? "Hello from long mode\n" : "Hello from protected mode\n");
}
