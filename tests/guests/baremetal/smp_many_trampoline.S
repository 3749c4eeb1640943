// SPDX-License-Identifier: Apache-2.0
// What each further processor does, in real mode at 0x8000: counts itself and its x2APIC id (CPUID leaf 0xb), sleeps.

        .section .rodata
        .globl trampoline, trampoline_end
        .code16
trampoline:
        cli
        xor     %ax, %ax
        mov     %ax, %ds
        mov     $0xb, %eax
        xor     %ecx, %ecx
        cpuid
        and     $4095, %edx
        lock incb 0xa000(%edx)
        lock incl 0x9000
1:      hlt
        jmp     1b
trampoline_end:
