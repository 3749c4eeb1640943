// SPDX-License-Identifier: Apache-2.0
// For assembler files: one entry per interrupt vector and the table of their addresses. An entry pushes its number above
// the error code, or `filler` where the processor pushes none, and goes to common.

#ifdef __x86_64__
#define ADDRESS .quad
#else
#define ADDRESS .long
#endif

        .altmacro
        .macro vector_entry number, filler
vector_entry_\number:
        .set has_error, \number == 8 || (\number >= 10 && \number <= 14) || \number == 17 || \number == 21
        .if !has_error
        push    $\filler
        .endif
        push    $\number
        jmp     common
        .endm
        .macro vector_address number
        ADDRESS vector_entry_\number
        .endm

        .macro vectors table, filler
        .set vector, 0
        .rept 256
        vector_entry %vector, \filler
        .set vector, vector + 1
        .endr
        .pushsection .rodata
        .balign 8
        .globl \table
\table:
        .set vector, 0
        .rept 256
        vector_address %vector
        .set vector, vector + 1
        .endr
        .popsection
        .endm
