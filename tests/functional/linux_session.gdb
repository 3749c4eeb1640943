# SPDX-License-Identifier: Apache-2.0
# What a kernel's developer does, in one sitting; test_gdb_linux.py runs it here and in QEMU and compares. The names are
# those of Debian 12's kernel. What lies between STEPS and STEPPED depends on time and is left out.

# Before the first line of C: where it is, what it will do, the CPU's registers.
hbreak start_kernel
continue
bt 3
x/6i $pc
info registers rip cs ss cr0 cr4 efer eflags fs_base gs_base
info threads

# Memory: the banner that the kernel is about to print.
x/s &linux_banner
set var *(unsigned char*)&linux_banner = 'P'
x/s &linux_banner
maint packet Qqemu.PhyMemMode:1
x/1c (long)&linux_banner - 0xffffffff80000000
maint packet Qqemu.PhyMemMode:0

# Registers, of which the kernel needs none just now.
set $r15 = 0x123456789abcdef0
p/x $r15
set $r15 = 0
set $xmm3.uint128 = 0x55
p $xmm3.v2_int64
set $xmm3.uint128 = 0
set $eflags = $eflags | 1
p $eflags
set $eflags = $eflags & ~1
delete

# A variable is written: the kernel begins to schedule.
watch *(int*)&system_state
continue
bt 2
delete

# A line of interrupts waits while it steps through a function; it is not entered.
break smp_init
continue
p $_thread
bt 2
delete
echo STEPS\n
python
visited, last, moves = [], None, 0
while moves < 60:  # QEMU's step sometimes makes none
    gdb.execute("stepi")
    place = int(gdb.parse_and_eval("(unsigned long)$pc"))
    moves += place != last
    last = place
    visited.append(gdb.execute("info symbol $pc", to_string=True).split()[0])
end
echo STEPPED\n
python print("visited:", *sorted(set(visited)))
x/i $pc

# Unless that is asked for.
maint packet Qqemu.sstep=1
echo STEPS\n
python
interrupted = None
for i in range(4000):
    before = int(gdb.parse_and_eval("(unsigned long)$pc"))
    gdb.execute("stepi")
    if gdb.execute("info symbol $pc", to_string=True).startswith("asm_sysvec_apic_timer_interrupt"):
        interrupted = before
        break
end
echo STEPPED\n
python print("a step entered the timer's interrupt:", interrupted is not None)
maint packet Qqemu.sstep=7
hbreak tick_periodic
continue
bt 3
delete

# The other CPU's first steps, from both CPUs' sides.
hbreak start_secondary
continue
p $_thread
bt 2
info threads
thread 1
p $_thread
thread 2
info registers rip cs
info symbol $pc
stepi
p $_thread
delete
detach
