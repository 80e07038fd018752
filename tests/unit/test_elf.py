"""The headers of programs: which runtime was linked in, however they were stripped."""

from __future__ import annotations

import shutil
import struct
import sys

import pytest
from servers import native

from opsdoc.model import Malformed
from opsdoc.parsers.elf import layout, runtime, section_names


def reader(data: bytes):
    return lambda offset, size: data[offset : offset + size]


def program(names: list[str], *, order: str = "<", wide: bool = True, note: bytes = b"") -> bytes:
    """A file of nothing but headers: sections of these names, and a note if one is given."""
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in [*names, ".shstrtab"])
    head_size, row_size, program_size = (64, 64, 56) if wide else (52, 40, 32)
    note_at = head_size + program_size
    strings_at = note_at + len(note)
    rows_at = strings_at + len(strings)
    rows, at = [bytes(row_size)], 1
    for name in [*names, ".shstrtab"]:
        where = (strings_at, len(strings)) if name == ".shstrtab" else (0, 0)
        row = struct.pack(order + ("IIQQQQ" if wide else "IIIIII"), at, 1, 0, 0, *where)
        rows.append(row.ljust(row_size, b"\0"))
        at += len(name) + 1
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    fields = (2, 62, 1, 0, head_size, rows_at, 0, head_size, program_size, 1, row_size, len(rows), len(rows) - 1)
    head = ident + struct.pack(order + ("HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"), *fields)
    kind = struct.pack(order + "IIQ", 4, 4, note_at) if wide else struct.pack(order + "II", 4, note_at)
    return head + kind.ljust(program_size, b"\0") + note + strings + b"".join(rows)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("wide", [True, False])
def test_sections_in_both_widths_and_byte_orders(order, wide):
    data = program([".text", ".gopclntab"], order=order, wide=wide)
    assert section_names(reader(data), layout(data)) == {".text", ".gopclntab", ".shstrtab"}
    assert runtime(reader(data)) == "go"


@pytest.mark.parametrize(
    ("names", "known"),
    [
        ([".text", ".data"], None),
        ([".go.buildinfo"], "go"),
        ([".note.go.buildid"], "go"),
        ([".svm_heap"], "native image"),
        ([".gopclntab.not"], None),
        ([], None),
    ],
)
def test_the_runtime_by_its_sections(names, known):
    assert runtime(reader(program(names))) == known


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
def test_go_by_its_note_where_the_sections_were_stripped(order, wide):
    note = struct.pack(order + "III4s", 4, 8, 4, b"Go\0\0") + b"build-id"
    assert runtime(reader(program([], order=order, wide=wide, note=note))) == "go"
    other = struct.pack(order + "III4s", 4, 8, 1, b"GNU\0") + b"build-id"
    assert runtime(reader(program([], order=order, wide=wide, note=other))) is None


@pytest.mark.parametrize("data", [b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF\x03\x01" + bytes(80), bytes(4096)])
def test_what_is_no_program_is_malformed(data):
    with pytest.raises(Malformed):
        runtime(reader(data))


def test_an_endless_table_is_not_read():
    data = bytearray(program([".text"]))
    struct.pack_into("<Q", data, 40, 2**63)
    asked = []
    assert runtime(lambda offset, size: asked.append((offset, size)) or bytes(data)[offset : offset + size]) is None
    assert all(offset < 2**62 and size <= 2**20 for offset, size in asked)


@pytest.mark.parametrize("stripped", [False, True])
def test_a_real_go_program(stripped):
    data = native.built_by_go(stripped=stripped).read_bytes()
    assert runtime(reader(data)) == "go"
    assert ".gopclntab" in section_names(reader(data), layout(data))


def test_real_programs_that_are_none():
    for path in filter(None, (shutil.which("dd"), sys.executable)):
        with open(path, "rb") as file:
            assert runtime(reader(file.read())) is None
