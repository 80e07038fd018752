"""Parsers of perf's samples, of system calls and of program headers are total: a value or Malformed for any bytes."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from opsdoc.looks.native import explain, read
from opsdoc.model import Malformed, Unknown
from opsdoc.parsers import elf, perf_script
from opsdoc.parsers.perf_script import Place
from opsdoc.parsers.syscalls import call_of, stack_frames, syscall_of

frugal = settings(max_examples=200, deadline=None)

SAMPLE = (
    b" 4711 cpu-clock:u: \n\t  1145 spin(int (*)()) (/srv/a (deleted))\n\tffffffff8110a3a2 read ([kernel.kallsyms])\n\n"
)
PIECES = st.sampled_from(
    [b"\n", b"\n\n", b"\t", b" (", b")", b"7", b"ffffffffffffffff", b"[", b"9" * 30, b"\0", b"\xff"]
)
HEADER = (b"\x7fELF\x02\x01\x01" + bytes(9)) + bytes(4080)


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    for _ in range(draw(st.integers(1, 4))):
        at, to = sorted([draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))])
        data = data[:at] + draw(PIECES) + data[draw(st.sampled_from([at, to])) :]
    return data


def check_samples(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        for sample in perf_script.parse(data):
            assert sample.tid >= 0
            assert len(sample.frames) <= perf_script.MOST_FRAMES
    with contextlib.suppress(Malformed):
        for tid, sampled in read(data).items():
            assert tid >= 0
            assert sampled.frames
            assert 1 <= sampled.agreement.seen <= sampled.agreement.of
            if isinstance(sampled.kernel, Unknown):
                assert sampled.syscalls == ()


@frugal
@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    check_samples(data)
    check_samples(b"7 \n\t12 " + data + b"\n\n")
    text = data.decode("utf-8", "backslashreplace")
    assert call_of(text, "x86_64") is None or " " not in text[:1]
    stack_frames(text)
    explain({"syscall": text, "wchan": text, "stack": text, "unknown": {}, "machine": text})


@frugal
@given(damaged(SAMPLE * 2))
def test_damaged_samples(data: bytes) -> None:
    check_samples(data)


@frugal
@given(st.binary(max_size=200))
def test_a_symbol_and_a_path_move_no_frame(raw: bytes) -> None:
    text = b"".join(raw.split(b"\n")).strip()
    samples = perf_script.parse(b"7 \n\t12 " + text + b" (/a)\n\t13 end (/b)\n\n")
    assert [sample.tid for sample in samples] == [7]
    assert samples[0].frames[-1] == Place("end", "/b")


@frugal
@given(st.lists(st.tuples(st.text(max_size=30), st.sampled_from(["[kernel.kallsyms]", "/lib/libc.so.6", "/srv/a"]))))
def test_any_stack(frames: list[tuple[str, str]]) -> None:
    name = syscall_of([Place(*frame) for frame in frames])
    assert name is None or name


@frugal
@given(st.binary(max_size=200), st.binary(max_size=64), st.sampled_from([1, 2]), st.sampled_from([1, 2]))
def test_any_program(data: bytes, header: bytes, wide: int, order: int) -> None:
    for blob in (data, b"\x7fELF" + bytes([wide, order]) + bytes(10) + header + data, HEADER[:16] + header + data * 30):
        with contextlib.suppress(Malformed):
            assert elf.runtime(lambda offset, size, blob=blob: blob[offset : offset + size]) in (
                None,
                "go",
                "native image",
            )
