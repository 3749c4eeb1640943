// SPDX-License-Identifier: Apache-2.0
// One entry per vector; all save the registers as struct TrapFrame and call trap().

#include "vectors.h"

        .text
        vectors trap_entries, 0

#ifdef __x86_64__
common:
        push %rax
        push %rcx
        push %rdx
        push %rbx
        push %rbp
        push %rsi
        push %rdi
        push %r8
        push %r9
        push %r10
        push %r11
        push %r12
        push %r13
        push %r14
        push %r15
        cld
        mov  %rsp, %rdi
        call trap
        pop  %r15
        pop  %r14
        pop  %r13
        pop  %r12
        pop  %r11
        pop  %r10
        pop  %r9
        pop  %r8
        pop  %rdi
        pop  %rsi
        pop  %rbp
        pop  %rbx
        pop  %rdx
        pop  %rcx
        pop  %rax
        add  $16, %rsp
        iretq
#else
common:
        pusha
        cld
        push %esp
        call trap
        add  $4, %esp
        popa
        add  $8, %esp
        iret
#endif
