// SPDX-License-Identifier: Apache-2.0
// Entry from a multiboot or PVH loader in 32-bit protected mode; goes on to long mode when built for 64 bits.
// Paging (64 bits): the first 4 GiB mapped one to one in 2 MiB pages.

#define CR0_MP 0x2
#define CR0_EM 0x4
#define CR0_WP 0x10000
#define CR0_PG 0x80000000
#define CR4_PAE 0x20
#define CR4_OSFXSR_OSXMMEXCPT 0x600
#define MSR_EFER 0xc0000080
#define EFER_LME_NXE 0x900
#define STACK_SIZE 16384

#ifdef PVH
        .section .note.pvh, "a", @note
        .long 4, 4, 18                  // name size, descriptor size, XEN_ELFNOTE_PHYS32_ENTRY
        .asciz "Xen"
        .long _start
#else
        .section .multiboot, "a"
        .set MULTIBOOT_MAGIC, 0x1badb002
        .set MULTIBOOT_FLAGS, 0x2       // memory sizes, please
        .long MULTIBOOT_MAGIC, MULTIBOOT_FLAGS, -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)
#endif

        .text
        .code32
        .globl _start
_start:
        cli
        cld
        mov     $stack_top, %esp
        mov     %eax, boot_magic
        mov     %ebx, boot_info
        lgdt    gdt_pointer
        ljmp    $0x08, $1f
1:      mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     %eax, %fs
        mov     %eax, %gs
        mov     %cr0, %eax
        and     $~CR0_EM, %eax
        or      $CR0_MP, %eax
        mov     %eax, %cr0
        mov     %cr4, %eax
        or      $CR4_OSFXSR_OSXMMEXCPT, %eax
        mov     %eax, %cr4
        fninit
#ifdef __x86_64__
        call    make_page_tables
        call    enter_long_mode
        ljmp    $0x18, $1f
        .code64
1:      mov     $stack_top, %rsp
#endif
        call    setup_traps
        call    main
        call    pass

#ifdef __x86_64__
        .code32
make_page_tables:
        movl    $pdpt + 3, pml4
        mov     $pdpt, %edi
        mov     $page_directories + 3, %eax
        mov     $4, %ecx
1:      mov     %eax, (%edi)
        add     $8, %edi
        add     $4096, %eax
        loop    1b
        mov     $page_directories, %edi
        mov     $0x83, %eax             // present, writable, 2 MiB
        mov     $2048, %ecx
2:      mov     %eax, (%edi)
        add     $8, %edi
        add     $0x200000, %eax
        loop    2b
        ret

// Also called by application processors, with the boot processor's tables.
        .globl enter_long_mode
enter_long_mode:
        mov     %cr4, %eax
        or      $CR4_PAE | CR4_OSFXSR_OSXMMEXCPT, %eax
        mov     %eax, %cr4
        mov     $pml4, %eax
        mov     %eax, %cr3
        mov     $MSR_EFER, %ecx
        rdmsr
        or      $EFER_LME_NXE, %eax
        wrmsr
        mov     %cr0, %eax
        or      $CR0_PG | CR0_WP, %eax
        mov     %eax, %cr0
        ret
#endif

        .data
        .balign 8
        .globl gdt_pointer, gdt
gdt_pointer:
        .word   gdt_end - gdt - 1
        .long   gdt, 0
        .balign 8
gdt:    .quad   0
        .quad   0x00cf9b000000ffff      // 0x08: 32-bit code
        .quad   0x00cf93000000ffff      // 0x10: data
        .quad   0x00af9b000000ffff      // 0x18: 64-bit code
gdt_end:
        .globl boot_magic, boot_info
boot_magic: .long 0
boot_info:  .long 0

        .bss
        .balign 4096
        .globl pml4, pdpt
pml4:   .skip   4096
pdpt:   .skip   4096
page_directories: .skip 4 * 4096
        .skip   STACK_SIZE
stack_top:
