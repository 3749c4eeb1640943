// SPDX-License-Identifier: Apache-2.0
// Boot sector of the disk that Bochs starts: loads the program that follows it to 1 MiB and enters it as a multiboot
// loader would. make-disk fills in the last two words before the signature.

        .code16
        .globl _start
_start: ljmp    $0, $1f
1:      cli
        xor     %ax, %ax
        mov     %ax, %ds
        mov     %ax, %es
        mov     %ax, %ss
        mov     $0x7c00, %sp
        mov     %dl, drive
        in      $0x92, %al
        or      $2, %al                 // A20
        out     %al, $0x92
        mov     sectors, %ebx
read:   mov     $packet, %si
        mov     $0x42, %ah
        mov     drive, %dl
        int     $0x13
        jc      stop
        addw    $0x800, packet + 6      // 32 KiB further on
        addl    $64, packet + 8
        sub     $64, %ebx
        jg      read
        cli
        lgdt    gdt_pointer
        mov     %cr0, %eax
        or      $1, %al
        mov     %eax, %cr0
        ljmp    $8, $protected
stop:   hlt
        jmp     stop

        .code32
protected:
        mov     $0x10, %ax
        mov     %ax, %ds
        mov     %ax, %es
        mov     %ax, %ss
        mov     $0x10000, %esi
        mov     $0x100000, %edi
        mov     sectors, %ecx
        shl     $7, %ecx
        rep movsl
        mov     $0x2badb002, %eax
        xor     %ebx, %ebx
        jmp     *entry

        .balign 8
gdt:    .quad   0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
        .word   . - gdt - 1
        .long   gdt
        .balign 4
packet: .byte   16, 0
        .word   64, 0, 0x1000
        .quad   1
drive:  .byte   0
        .org    0x1f6 - 4
sectors: .long  0
entry:  .long   0
        .org    0x1fe
        .byte   0x55, 0xaa
