// SPDX-License-Identifier: Apache-2.0
// The way into a case and out of it by a trap, 32 bits. struct Regs: ax cx dx bx sp bp si di ip flags cs ss ds es fs gs.

#include "vectors.h"

        .text
        .globl enter_case
enter_case:
        push    %ebp
        push    %ebx
        push    %esi
        push    %edi
        mov     20(%esp), %edx
        mov     %esp, kernel_sp
        testl   $0x20000, 36(%edx)
        jnz     virtual
        testl   $3, 40(%edx)
        jnz     outer
        mov     44(%edx), %ss           // the same privilege: its stack holds the frame
        mov     16(%edx), %esp
        jmp     same
virtual:
        pushl   60(%edx)
        pushl   56(%edx)
        pushl   48(%edx)
        pushl   52(%edx)
        pushl   44(%edx)
        pushl   16(%edx)
        pushl   36(%edx)
        pushl   40(%edx)
        pushl   32(%edx)
        pushl   $0x10
        jmp     load
outer:  pushl   44(%edx)
        pushl   16(%edx)
same:   pushl   36(%edx)
        pushl   40(%edx)
        pushl   32(%edx)
        pushl   48(%edx)
        mov     52(%edx), %es
        mov     56(%edx), %fs
        mov     60(%edx), %gs
load:   pushl   8(%edx)
        mov     0(%edx), %eax
        mov     4(%edx), %ecx
        mov     12(%edx), %ebx
        mov     20(%edx), %ebp
        mov     24(%edx), %esi
        mov     28(%edx), %edi
        pop     %edx
        pop     %ds
        .globl case_iret
case_iret:
        iret

        vectors trap_entry_table, -1

common: pusha
        push    %ds
        push    %es
        push    %fs
        push    %gs
        mov     %ss, %ecx
        mov     %esp, %edx
        mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %fs
        mov     %eax, %gs
        mov     %eax, %ss
        mov     $trap_stack, %esp
        cld
        push    %ecx
        push    %edx
        call    collect
        mov     kernel_sp, %esp
        pop     %edi
        pop     %esi
        pop     %ebx
        pop     %ebp
        ret

        .bss
        .balign 16
kernel_sp: .skip 8
        .skip   8192
trap_stack:
