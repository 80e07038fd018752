"""The headers of an ELF file: its sections, and which compiler's runtime it was linked with (format: elf(5))."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from opsdoc.model import Malformed

HEAD = 4096  # the file's first page: its header, program headers and, where Go linked it, the build id
TABLE_CAP = 256 * 1024  # of the section headers and of their names: a kernel module with debug info has 5 KiB
FAR = 1 << 62  # an offset that no file reaches and pread(2) may refuse
Read = Callable[[int, int], bytes]  # offset, size: what the file holds there, less at its end

_SECTIONS_OF = (("go", (".go.buildinfo", ".note.go.buildid", ".gopclntab")), ("native image", (".svm_heap",)))


class Layout(NamedTuple):
    """Where the tables of a file stand. `order` is the byte order as `struct` spells it."""

    order: str
    wide: bool  # 64 bits
    programs: tuple[int, int, int]  # offset, size of one, how many
    sections: tuple[int, int, int]
    names: int  # index of the section that holds the names


def layout(head: bytes) -> Layout:
    """The header of an ELF file, from its first 64 bytes or more; raises Malformed for any other file."""
    orders = {b"\1": "<", b"\2": ">"}
    if head[:4] != b"\x7fELF" or head[4:5] not in (b"\1", b"\2") or head[5:6] not in orders:
        raise Malformed(f"not an ELF file: {head[:8]!r}")
    order, wide = orders[head[5:6]], head[4:5] == b"\2"
    try:
        fields = struct.unpack_from(order + ("HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"), head, 16)
    except struct.error:
        raise Malformed("an ELF header cut short") from None
    _, _, _, _, programs, sections, _, _, program_size, program_count, section_size, section_count, names = fields
    return Layout(order, wide, (programs, program_size, program_count), (sections, section_size, section_count), names)


def section_names(read: Read, of: Layout) -> frozenset[str]:
    """The names of the sections; none where the file has no table of them or it is not whole."""
    offset, size, count = of.sections
    least = 64 if of.wide else 40
    if not 0 < offset < FAR or size < least or count * size > TABLE_CAP or of.names >= count:
        return frozenset()
    table = read(offset, count * size)
    where = struct.Struct(of.order + ("IIQQQQ" if of.wide else "IIIIII"))
    rows = [where.unpack_from(table, at) for at in range(0, len(table) - least + 1, size)]
    _, _, _, _, at, length = rows[of.names] if of.names < len(rows) else (0,) * 6
    if not 0 < at < FAR:
        return frozenset()
    strings = read(at, min(length, TABLE_CAP))
    return frozenset(
        strings[row[0] : strings.find(b"\0", row[0])].decode("ascii", "backslashreplace")
        for row in rows
        if strings.find(b"\0", row[0]) > row[0]
    )


def runtime(read: Read) -> str | None:
    """The runtime that was linked into a program: `go`, `native image` (GraalVM), or None; raises Malformed.

    Go's build id stands in the first page of most of its programs, however they were stripped; else the names of the
    sections tell, which need two more reads.
    """
    head = read(0, HEAD)
    of = layout(head)
    if _has_note_of_go(head, of):
        return "go"
    names = section_names(read, of)
    return next((runtime for runtime, telling in _SECTIONS_OF if names.intersection(telling)), None)


def _has_note_of_go(head: bytes, of: Layout) -> bool:
    """Whether one of the notes in the first page is Go's: name `Go`, type 4 (cmd/internal/buildid)."""
    offset, size, count = of.programs
    row = struct.Struct(of.order + ("IIQQQQ" if of.wide else "IIIII"))
    for index in range(min(count, 64)):
        at = offset + index * size
        if size < row.size or at + row.size > len(head):
            return False
        fields = row.unpack_from(head, at)
        start = fields[2] if of.wide else fields[1]
        if fields[0] == 4 and head[start + 8 : start + 16] == struct.pack(of.order + "I4s", 4, b"Go\0\0"):  # PT_NOTE
            return True
    return False
