// SPDX-License-Identifier: Apache-2.0
// Option ROM that starts the kernel given with -kernel, when the guest comes up in a BIOS: the BIOS lists it as a boot
// device and calls its bootstrap entry, which takes the kernel's pieces from fw_cfg and jumps to it.
//
// Sources: BIOS Boot Specification 1.01 §3.3 and Plug and Play BIOS Specification 1.0a §3.2 (header, entries); QEMU
// docs/specs/fw_cfg.txt (keys and DMA); ACPI 6.4 §15.1 (INT 15h E820h); Linux Documentation/arch/x86/boot.rst
// (layout of low memory, registers on entry). The embedding program fills in both checksums.

.set kSetupAddress, 0x10000       // real-mode code; stack and heap behind it, up to 0x1e000
.set kSetupSegment, kSetupAddress >> 4
.set kSetupLimit, 0xc000          // what leaves room for them
.set kCommandLineAddress, 0x20000
.set kCommandLineLimit, 0x10000
.set kKernelAddress, 0x100000
.set kStackTop, 0xe000

// Offsets in the setup header.
.set kVersion, 0x206
.set kRamdiskImage, 0x218
.set kRamdiskSize, 0x21c
.set kInitrdAddrMax, 0x22c
.set kPrefAddress, 0x258
.set kInitSize, 0x260

// fw_cfg: ports, keys, bits of the DMA control word.
.set kSelector, 0x510
.set kData, 0x511
.set kDmaHigh, 0x514
.set kDmaLow, 0x518
.set kId, 0x01
.set kIdHasDma, 2
.set kDmaError, 1
.set kDmaRead, 2
.set kDmaSelect, 8

.macro control key
    mov $((\key << 16) | kDmaSelect | kDmaRead), %eax
.endm
.set kKernelSize, 0x08
.set kInitrdSize, 0x0b
.set kKernelData, 0x11
.set kInitrdData, 0x12
.set kCmdlineSize, 0x14
.set kCmdlineData, 0x15
.set kSetupSize, 0x17
.set kSetupData, 0x18

// The bootstrap's variables, on the BIOS's stack, from %bp.
.set vRequest, 0                  // 16 bytes: control, length, address high, low; all big-endian
.set vValue, 16                   // a size that was fetched
.set vEntry, 20                   // 20 bytes of E820 entry
.set vRamEnd, 40                  // end of the RAM that begins at or below 1 MiB
.set vFrame, 44

    .code16
    .section .text
rom:
    .byte 0x55, 0xaa
    .byte (rom_end - rom) / 512
    jmp init
    .org rom + 0x18
    .word 0                       // no PCI data structure
    .word pnp - rom
    .org rom + 0x20
pnp:
    .ascii "$PnP"
    .byte 1, 2                    // revision; length in 16 bytes
    .word 0                       // no further header
    .byte 0, 0                    // reserved; checksum
    .long 0                       // device identifier
    .word manufacturer - rom, product - rom
    .byte 0, 0, 0                 // device type: none of the known
    .byte 0x14                    // needed for booting only; an initial program load device
    .word 0, 0                    // no boot connection, no disconnect vector
    .word bootstrap - rom
    .word 0, 0                    // reserved; no static resources

    .org rom + 0x40
manufacturer:
    .asciz "system-emu"
product:
    .asciz "Linux kernel given with -kernel"

// Called once when the BIOS finds the ROM. Nothing to set up; an IPL device is attached.
init:
    mov $0x20, %ax
    lret

// The BIOS boots us. What fails is said on the screen, and returning makes it try the next device.
bootstrap:
    pushal
    push %ds
    push %es
    sub $vFrame, %sp
    mov %sp, %bp
    cld

    mov $kId, %ax
    mov $kSelector, %dx
    out %ax, %dx
    mov $kData, %dx
    in %dx, %al
    mov $(no_dma - rom), %si
    test $kIdHasDma, %al
    jz fail

    call find_ram
    mov %eax, vRamEnd(%bp)

    // The real-mode part.
    control kSetupSize
    call fetch_size
    mov $(bad_setup - rom), %si
    cmp $kSetupLimit, %ecx
    ja fail
    control kSetupData
    mov $kSetupAddress, %edi
    call fetch
    control kCmdlineSize
    call fetch_size
    mov $(bad_setup - rom), %si
    cmp $kCommandLineLimit, %ecx
    ja fail
    control kCmdlineData
    mov $kCommandLineAddress, %edi
    call fetch

    // The protected-mode part.
    control kKernelSize
    call fetch_size
    mov $(no_room - rom), %si
    mov vRamEnd(%bp), %ebx
    sub $kKernelAddress, %ebx
    jb fail
    cmp %ebx, %ecx
    ja fail
    mov %ecx, %ebx
    add $kKernelAddress, %ebx     // ebx: end of the kernel's file
    control kKernelData
    mov $kKernelAddress, %edi
    call fetch

    // The initrd: as high as the kernel and the memory map allow, on a page boundary.
    control kInitrdSize
    call fetch_size
    jecxz enter
    mov $kSetupSegment, %ax
    mov %ax, %es
    cmpw $0x020a, %es:kVersion    // from 2.10 on the kernel says what it needs, and where
    jb 3f
    mov %es:kPrefAddress, %eax
    add %es:kInitSize, %eax
    cmp %ebx, %eax
    jbe 3f
    mov %eax, %ebx
3:  mov %es:kInitrdAddrMax, %edi
    inc %edi
    jz 1f                         // it may be anywhere below 4 GiB
    cmp vRamEnd(%bp), %edi
    jbe 2f
1:  mov vRamEnd(%bp), %edi
2:  mov $(no_room - rom), %si
    sub %ecx, %edi
    jb fail
    and $~0xfff, %edi
    cmp %ebx, %edi
    jb fail
    mov %edi, %es:kRamdiskImage
    mov %ecx, %es:kRamdiskSize
    control kInitrdData
    call fetch

enter:
    cli
    mov $kSetupSegment, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %fs
    mov %ax, %gs
    mov %ax, %ss
    mov $kStackTop, %esp
    xor %eax, %eax
    xor %ebx, %ebx
    xor %ecx, %ecx
    xor %edx, %edx
    xor %esi, %esi
    xor %edi, %edi
    xor %ebp, %ebp
    ljmp $(kSetupSegment + 0x20), $0

// Says %cs:%si and gives up.
fail:
    mov %bp, %sp
1:  mov %cs:(%si), %al
    inc %si
    test %al, %al
    jz 2f
    mov $0x0e, %ah
    mov $7, %bx
    push %bp
    push %si
    int $0x10
    pop %si
    pop %bp
    jmp 1b
2:  add $vFrame, %sp
    pop %es
    pop %ds
    popal
    lret

// eax: the 4-byte item's DMA control word. Gives its value in ecx.
fetch_size:
    call stack_base
    lea vValue(%edi), %edi
    mov $4, %ecx
    call fetch
    mov vValue(%bp), %ecx
    ret

// edi: the linear address of the variables.
stack_base:
    mov %ss, %di
    movzwl %di, %edi
    shl $4, %edi
    push %eax
    movzwl %bp, %eax
    add %eax, %edi
    pop %eax
    ret

// Reads ecx bytes of the item that control word eax selects to linear address edi. Keeps ebx, ecx, edi.
fetch:
    bswap %eax
    mov %eax, vRequest(%bp)
    mov %ecx, %eax
    bswap %eax
    mov %eax, vRequest + 4(%bp)
    movl $0, vRequest + 8(%bp)
    mov %edi, %eax
    bswap %eax
    mov %eax, vRequest + 12(%bp)
    xor %eax, %eax
    mov $kDmaHigh, %dx
    out %eax, %dx
    push %edi
    call stack_base
    mov %edi, %eax                // vRequest is 0
    pop %edi
    bswap %eax
    mov $kDmaLow, %dx
    out %eax, %dx
1:  mov vRequest(%bp), %eax
    bswap %eax
    test $~kDmaError, %eax
    jnz 1b
    mov $(dma_failed - rom), %si
    test %eax, %eax
    jnz fail
    ret

// eax: the end of the RAM that holds the first byte above 1 MiB, 0xfffff000 at most.
find_ram:
    xor %ebx, %ebx
1:  mov %ss, %ax
    mov %ax, %es
    lea vEntry(%bp), %di
    mov $0x534d4150, %edx         // 'SMAP'
    mov $20, %ecx
    mov $0xe820, %eax
    push %bp
    int $0x15
    pop %bp
    mov $(no_map - rom), %si
    jc fail
    cmp $0x534d4150, %eax
    jne fail
    cmpl $1, vEntry + 16(%bp)     // RAM
    jne 2f
    cmpl $0, vEntry + 4(%bp)
    jne 2f
    mov vEntry(%bp), %eax
    cmp $kKernelAddress, %eax
    ja 2f
    mov vEntry + 12(%bp), %ecx
    add vEntry + 8(%bp), %eax
    adc $0, %ecx
    jnz 3f                        // it ends above 4 GiB
    cmp $kKernelAddress, %eax
    ja 4f
2:  test %ebx, %ebx
    jnz 1b
    jmp fail
3:  mov $0xfffff000, %eax
4:  ret

no_dma:
    .asciz "-kernel: fw_cfg has no DMA interface\r\n"
no_map:
    .asciz "-kernel: the firmware knows of no memory above 1 MiB\r\n"
bad_setup:
    .asciz "-kernel: the kernel's setup code or command line is too long\r\n"
no_room:
    .asciz "-kernel: the kernel and its initrd do not fit into memory\r\n"
dma_failed:
    .asciz "-kernel: reading the kernel from fw_cfg failed\r\n"

    .byte 0                       // makes all bytes sum to zero, wherever the padding puts it
    .balign 512, 0
rom_end:
