# SPDX-License-Identifier: Apache-2.0
"""Markdown tables of the trace count."""

REGISTERS = "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15".split()


def percent(part, whole):
    return f"{100 * part / whole:.1f}" if whole else "-"


def register_table(phases):
    """Cost of not pinning a register: it must be loaded where a block reads it first, stored where it is written."""
    total = lambda field, index: sum(p[field][index] / p["insns"] for p in phases) / len(phases)
    per_block = lambda field, index: sum(p[field][index] / p["basic_blocks"] for p in phases) / len(phases)
    rows = [(name, total("explicit", i), total("any", i), per_block("used", i), per_block("read_first", i),
             per_block("written", i)) for i, name in enumerate(REGISTERS)]
    rows.sort(key=lambda row: -(row[4] + row[5]))
    print("| register | mentions, explicit % of insns | with implied | blocks using % | reading first % | writing % |")
    print("|---|---|---|---|---|---|")
    for name, *values in rows:
        print(f"| {name} | " + " | ".join(f"{100 * value:.1f}" for value in values) + " |")


def phase_table(phases):
    print("| phase | insns M | insns/block | accesses/block | insns/EBB entry | same page % | cross % | loop % | "
          "indirect % | return % | system+event % |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for p in phases:
        exits = p["exits"]
        share = [percent(value, sum(exits)) for value in exits]
        print(f"| {p['phase']} | {p['insns'] / 1e6:.1f} | {p['insns'] / p['basic_blocks']:.2f} | "
              f"{p['accesses'] / p['basic_blocks']:.2f} | {p['insns'] / p['entries']:.2f} | {share[0]} | {share[1]} | "
              f"{share[2]} | {share[3]} | {share[4]} | {percent(exits[5] + exits[6], sum(exits))} |")


def miss_table(phases):
    print("| phase | CR3 writes | INVLPG | jump-cache miss % kept / flushed | link-guard failure % | L1 TLB miss % | "
          "EBBs made | clones | helpers % of insns | merged guard, bytes per entry |")
    print("|---" * 10 + "|")
    for p in phases:
        cell = lambda what: " / ".join(percent(p[form][what][1], p[form][what][0]) for form in ("kept", "flushed"))
        print(f"| {p['phase']} | {p['cr3_writes']} | {p['invlpg']} | {cell('jump')} | {cell('link')} | "
              f"{cell('dtlb')} | {p['ebbs_made']} | {p['clones']} | {percent(p['helpers'], p['insns'])} | "
              f"{(5 * p['exits'][1] - 11 * p['entries_cross_only']) / p['entries']:+.2f} |")


def shape_table(phases):
    shapes = list(phases[0]["shapes"])
    print("jump-cache miss %, by shape\n\n| phase | " + " | ".join(shapes) + " |")
    print("|---" * (len(shapes) + 1) + "|")
    for p in phases:
        print(f"| {p['phase']} | " + " | ".join(percent(p["shapes"][s][1], p["shapes"][s][0]) for s in shapes) + " |")


def byte_table(phases):
    abis = list(phases[0]["abis"])
    per_block = lambda p, a: (p["abis"][a]["block_hot"] + p["abis"][a]["block_cold"]) / p["basic_blocks"]
    print("bytes per basic block, in line and stubs\n\n| phase | " + " | ".join(abis) + " |")
    print("|---" * (len(abis) + 1) + "|")
    for p in phases:
        print(f"| {p['phase']} | " + " | ".join(f"{per_block(p, a):.0f}" for a in abis) + " |")
    print("| mean | " + " | ".join(f"{sum(per_block(p, a) for p in phases) / len(phases):.0f}" for a in abis) + " |")


def density_table(phases):
    abis = list(phases[0]["abis"])[:2]
    print("| phase | ABI | block: in line + stubs | register traffic | flag stores | accesses shared % (by rsp), block | "
          "EBB: executed path / in line / + stubs | accesses shared % (by rsp), EBB | path bytes per insn | "
          "distinct EBBs | their KiB |")
    print("|---" * 11 + "|")
    for p in phases:
        for abi in abis:
            b = p["abis"][abi]
            blocks, entries = p["basic_blocks"], p["entries"]
            shared = lambda form: (f"{percent(b[form + '_shared'], b[form + '_accesses'])} "
                                   f"({percent(b[form + '_shared_stack'], b[form + '_accesses'])})")
            cells = [p["phase"], abi, f"{b['block_hot'] / blocks:.0f} + {b['block_cold'] / blocks:.0f}",
                     f"{b['block_traffic'] / blocks:.1f}", f"{b['block_flags'] / blocks:.1f}", shared("block"),
                     f"{b['ebb_path'] / entries:.0f} / {b['ebb_hot'] / entries:.0f} / "
                     f"{(b['ebb_hot'] + b['ebb_cold']) / entries:.0f}", shared("ebb"),
                     f"{b['ebb_path'] / p['insns']:.1f}", str(p["distinct_ebbs"]), f"{b['distinct_bytes'] / 1024:.0f}"]
            print("| " + " | ".join(cells) + " |")


def print_tables(phases):
    phases = [p for p in phases if p["insns"]]
    unknown = max(p["unknown"] / p["insns"] for p in phases)
    print(f"instructions that the disassembler does not know: at most {100 * unknown:.3f} % in any phase")
    for vcpu in sorted({p["vcpu"] for p in phases}):
        of_vcpu = [p for p in phases if p["vcpu"] == vcpu]
        print(f"\nvCPU {vcpu}\n")
        for table in (register_table, phase_table, miss_table, shape_table, byte_table, density_table):
            table(of_vcpu)
            print()
