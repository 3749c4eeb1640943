# SPDX-License-Identifier: Apache-2.0
"""Makes a symbol file for debuggers out of a compressed Linux kernel, whose own table of names (kallsyms) is enough.

    kernel_symbols.py VMLINUZ OUTPUT

Distributions ship no System.map beside the kernel any more, and debug packages of a gigabyte. Layout of the names:
scripts/kallsyms.c and kernel/kallsyms.c of Linux 6.1; of the compressed image: Documentation/x86/boot.rst.
"""
import bisect
import lzma
import struct
import sys

LOAD = 1  # PT_LOAD
# ELF sections and symbols, System V ABI.
NOBITS, SYMTAB, STRTAB, PROGBITS = 8, 2, 3, 1
ALLOC, WRITE, EXECUTE = 2, 1, 4
TOKENS = 256
GROUP = 256  # names a marker stands for
FEWEST = 1000  # names of a whole kernel


def vmlinux(image):
    """The ELF file that is packed in a bzImage."""
    setup_sectors = image[0x1f1] or 4
    offset, size = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    payload = image[start:start + size]
    if not payload.startswith(b"\xfd7zXZ\0"):
        raise ValueError("the kernel is not packed with xz")
    return lzma.LZMADecompressor().decompress(payload)


class Names:
    """The kallsyms of a kernel's image."""

    def __init__(self, elf):
        self.elf = elf
        self.find_tokens()
        self.find_names()

    def words(self, offset, count, size=4, kind="I"):
        if offset < 0 or offset + count * size > len(self.elf):
            return ()
        return struct.unpack_from(f"<{count}{kind}", self.elf, offset)

    def find_tokens(self):
        """256 texts in a row, then where each begins. Those of the digits are the digits."""
        digits = b"".join(bytes([c, 0]) for c in b"0123456789")
        at = self.elf.find(digits)
        while at >= 0:
            end = at
            for _ in range(ord("0"), TOKENS):
                end = self.elf.index(b"\0", end) + 1
            index = self.words((end + 7) & ~7, TOKENS, 2, "H")
            if index and index[0] == 0 and list(index) == sorted(index):
                self.tokens_at = at - index[ord("0")]
                self.tokens = [self.elf[self.tokens_at + i:self.elf.index(b"\0", self.tokens_at + i)] for i in index]
                return
            at = self.elf.find(digits, at + 1)
        raise ValueError("the kernel has no names")

    def find_names(self):
        """A count, the names, and behind them where each 256th begins; all that before the tokens."""
        for at in range(self.tokens_at - 8 & ~7, 8, -8):
            count = self.words(at, 1)[0]
            if not FEWEST < count < (self.tokens_at - at) // 2 or self.elf[at + 4:at + 8] != bytes(4):
                continue
            names = self.read(at + 8, count)
            if names is not None:
                self.names, self.count_at = names, at
                return
        raise ValueError("the kernel's names were not found")

    def read(self, start, count):
        at, names, markers = start, [], []
        for number in range(count):
            if number % GROUP == 0:
                markers.append(at - start)
            length = self.elf[at]
            at += 1
            if length & 0x80:
                length = length & 0x7f | self.elf[at] << 7
                at += 1
            if length == 0 or at + length > self.tokens_at:
                return None
            names.append(b"".join(self.tokens[token] for token in self.elf[at:at + length]))
            at += length
        return names if list(self.words((at + 7) & ~7, len(markers))) == markers else None

    def symbols(self):
        """(address, kind as nm has it, name)"""
        base = struct.unpack_from("<Q", self.elf, self.count_at - 8)[0]
        offsets_at = self.count_at - 8 - (4 * len(self.names) + 7 & ~7)
        for offset, name in zip(self.words(offsets_at, len(self.names), 4, "i"), self.names):
            # Not negative: itself the address, of something that each CPU has its own of.
            yield (offset if offset >= 0 else base - 1 - offset), chr(name[0]), name[1:]


def symbol_file(symbols):
    """An ELF file of symbols, with sections that say what is code; their bytes are the target's."""
    symbols = sorted(symbols)
    marks = {name: address for address, _, name in symbols}
    regions = [(b".text", marks[b"_stext"], marks[b"_etext"], ALLOC | EXECUTE),
               (b".data", marks[b"_etext"], marks[b"_sinittext"], ALLOC | WRITE),
               (b".init.text", marks[b"_sinittext"], marks[b"_einittext"], ALLOC | EXECUTE),
               (b".init.data", marks[b"_einittext"], marks[b"_end"], ALLOC | WRITE)]
    starts = [start for _, start, _, _ in regions]
    texts, entries = bytearray(b"\0"), bytearray(24)
    for address, kind, name in symbols:
        section = bisect.bisect_right(starts, address)
        inside = section > 0 and address < regions[section - 1][2]
        is_code = kind in "tTwW"
        entries += struct.pack("<IBBHQQ", len(texts), (0x10 if kind.isupper() else 0) | (2 if is_code else 1), 0,
                               section if inside else 0xfff1, address, 0)
        texts += name + b"\0"
    section_names = bytearray(b"\0")

    def named(name):
        section_names.extend(name + b"\0")
        return len(section_names) - len(name) - 1

    headers = [bytes(64)]
    for name, start, end, flags in regions:
        headers.append(struct.pack("<IIQQQQIIQQ", named(name), NOBITS, flags, start, 64, end - start, 0, 0, 16, 0))
    at = 64
    body = bytearray()
    for name, kind, data, link, info, entry in (
            (b".symtab", SYMTAB, entries, len(regions) + 2, 1, 24), (b".strtab", STRTAB, texts, 0, 0, 0)):
        headers.append(struct.pack("<IIQQQQIIQQ", named(name), kind, 0, 0, at + len(body), len(data), link, info, 8,
                                   entry))
        body += data
    name = named(b".shstrtab")
    headers.append(struct.pack("<IIQQQQIIQQ", name, STRTAB, 0, 0, at + len(body), len(section_names), 0, 0, 1, 0))
    body += section_names
    body += bytes(-len(body) % 8)
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 2, 62, 1, marks[b"_stext"], 0, at + len(body), 0, 64, 0, 0, 64, len(headers),
        len(headers) - 1)
    return header + bytes(body) + b"".join(headers)


def make(kernel, output):
    with open(kernel, "rb") as file:
        names = Names(vmlinux(file.read()))
    with open(output, "wb") as file:
        file.write(symbol_file(names.symbols()))


if __name__ == "__main__":
    make(sys.argv[1], sys.argv[2])
