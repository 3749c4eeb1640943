// SPDX-License-Identifier: Apache-2.0
// The way into a case and out of it by a trap, 64 bits. struct Regs: ax cx dx bx sp bp si di r8-r15 ip flags cs ss ds es
// fs gs.

#include "vectors.h"

        .text
        .globl enter_case
enter_case:
        push    %rbp
        push    %rbx
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        mov     %rsp, kernel_sp
        pushq   152(%rdi)               // ss
        pushq   32(%rdi)                // sp
        pushq   136(%rdi)               // flags
        pushq   144(%rdi)               // cs
        pushq   128(%rdi)               // ip
        mov     160(%rdi), %ds
        mov     168(%rdi), %es
        mov     176(%rdi), %fs
        mov     184(%rdi), %gs
        mov     0(%rdi), %rax
        mov     8(%rdi), %rcx
        mov     16(%rdi), %rdx
        mov     24(%rdi), %rbx
        mov     40(%rdi), %rbp
        mov     48(%rdi), %rsi
        mov     64(%rdi), %r8
        mov     72(%rdi), %r9
        mov     80(%rdi), %r10
        mov     88(%rdi), %r11
        mov     96(%rdi), %r12
        mov     104(%rdi), %r13
        mov     112(%rdi), %r14
        mov     120(%rdi), %r15
        mov     56(%rdi), %rdi
        .globl case_iret
case_iret:
        iretq

        vectors trap_entry_table, -1

common: push    %r15
        push    %r14
        push    %r13
        push    %r12
        push    %r11
        push    %r10
        push    %r9
        push    %r8
        push    %rdi
        push    %rsi
        push    %rbp
        push    %rbx
        push    %rdx
        push    %rcx
        push    %rax
        mov     %rsp, %rdi
        mov     %ss, %esi
        mov     $0x10, %eax
        mov     %eax, %ss
        mov     $trap_stack, %rsp
        cld
        call    collect
        mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     kernel_sp, %rsp
        pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %rbx
        pop     %rbp
        ret

        .bss
        .balign 16
kernel_sp: .skip 16
        .skip   8192
trap_stack:
