// SPDX-License-Identifier: Apache-2.0
// One entry per vector; all save the registers as struct TrapFrame and call trap().

        .text
#ifdef __x86_64__
#define ADDRESS .quad
#else
#define ADDRESS .long
#endif

        .altmacro
        .macro entry number
trap_\number:
        // 8, 10-14, 17, 21, 29, 30 push an error code themselves
        .set has_error, \number == 8 || (\number >= 10 && \number <= 14) || \number == 17 || \number == 21
        .if !(has_error || \number == 29 || \number == 30)
        push    $0
        .endif
        push    $\number
        jmp     common
        .endm

        .set vector, 0
        .rept 256
        entry   %vector
        .set vector, vector + 1
        .endr

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

        .macro address number
        ADDRESS trap_\number
        .endm
        .section .rodata
        .balign 8
        .globl trap_entries
trap_entries:
        .set vector, 0
        .rept 256
        address %vector
        .set vector, vector + 1
        .endr
