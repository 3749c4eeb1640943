// SPDX-License-Identifier: Apache-2.0
// The second processor's way from real mode at 0x8000 to other_main. Copied there; all else stays where it is linked.

#define TRAMPOLINE 0x8000
#define AT(label) (TRAMPOLINE + label - trampoline)

        .section .rodata
        .globl trampoline, trampoline_end
        .code16
trampoline:
        cli
        xor     %ax, %ax
        mov     %ax, %ds
        lgdtl   AT(pointer)
        mov     %cr0, %eax
        or      $1, %al
        mov     %eax, %cr0
        ljmpl   $0x08, $other_protected
        .balign 4
pointer:
        .word   4 * 8 - 1
        .long   gdt
trampoline_end:

        .text
        .code32
other_protected:
        mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     $other_stack_top, %esp
#ifdef __x86_64__
        call    enter_long_mode
        ljmp    $0x18, $1f
        .code64
1:      mov     $other_stack_top, %rsp
#endif
        call    other_main

        .bss
        .balign 16
        .skip   16384
other_stack_top:
