// SPDX-License-Identifier: Apache-2.0
// Into real mode and back. Copied to kRealPage (0x50000); struct Regs lies at its offset 0x800 on both ways, with the
// vector that ended the code behind it. Data segments are loaded in protected mode first, so that their limits stay.

        .text
        .globl real_begin, real_end, enter_real
        .set REGS, 0x800
        .set IP, REGS + 32
        .set FLAGS, REGS + 36
        .set CSEG, REGS + 40
        .set SSEG, REGS + 44
        .set VECTOR, REGS + 64
        .set KEEP, REGS + 80            // data segments are not reloaded in real mode

enter_real:
        push    %ebp
        push    %ebx
        push    %esi
        push    %edi
        mov     %esp, real_sp
        sidt    real_kernel_idt
        mov     0x50000 + REGS + 48, %edx
        mov     %edx, %ds
        mov     %cs:0x50000 + REGS + 52, %edx
        mov     %edx, %es
        mov     %cs:0x50000 + REGS + 56, %edx
        mov     %edx, %fs
        mov     %cs:0x50000 + REGS + 60, %edx
        mov     %edx, %gs
        ljmp    $0x88, $(real16 - real_begin)

        .code16
real_begin:
real16:
        movw    $0x90, %ax
        movw    %ax, %ss
        movl    %cr0, %eax
        andb    $0xfe, %al
        movl    %eax, %cr0
        ljmp    $0x5000, $(1f - real_begin)
1:      movw    %cs:SSEG, %ss
        movl    %cs:REGS + 16, %esp
        lidtl   %cs:(idt - real_begin)
        cmpw    $0, %cs:KEEP
        jne     2f
        movw    $0x4000, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %fs
        movw    %ax, %gs
2:      pushw   %cs:FLAGS
        pushw   %cs:CSEG
        pushw   %cs:IP
        movl    %cs:REGS, %eax
        movl    %cs:REGS + 4, %ecx
        movl    %cs:REGS + 8, %edx
        movl    %cs:REGS + 12, %ebx
        movl    %cs:REGS + 20, %ebp
        movl    %cs:REGS + 24, %esi
        movl    %cs:REGS + 28, %edi
        iretw

        .balign 16
        .globl real_stubs
real_stubs:
        .set vector, 0
        .rept 16
        .balign 8
        pushw   $vector
        jmp     leave
        .set vector, vector + 1
        .endr
        .balign 8
        pushw   $0xf0
leave:  movl    %eax, %cs:REGS
        movl    %ecx, %cs:REGS + 4
        movl    %edx, %cs:REGS + 8
        movl    %ebx, %cs:REGS + 12
        movl    %ebp, %cs:REGS + 20
        movl    %esi, %cs:REGS + 24
        movl    %edi, %cs:REGS + 28
        movw    %ds, %cs:REGS + 48
        movw    %es, %cs:REGS + 52
        movw    %fs, %cs:REGS + 56
        movw    %gs, %cs:REGS + 60
        movw    %ss, %cs:SSEG
        popw    %cs:VECTOR
        popw    %cs:IP
        popw    %cs:CSEG
        popw    %cs:FLAGS
        movl    %esp, %cs:REGS + 16
        movl    %cr0, %eax
        orb     $1, %al
        movl    %eax, %cr0
        ljmpl   $8, $real_back
        .balign 8
idt:    .word   0x3ff
        .long   0
real_end:

        .code32
real_back:
        mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %fs
        mov     %eax, %gs
        mov     %eax, %ss
        mov     real_sp, %esp
        lidt    real_kernel_idt
        pop     %edi
        pop     %esi
        pop     %ebx
        pop     %ebp
        ret

        .bss
        .balign 8
real_sp: .skip 8
real_kernel_idt: .skip 8
