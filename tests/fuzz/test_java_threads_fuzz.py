"""The reader of the JVM's JSON dump is total, and no name makes it take one thread for another."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opsdoc.looks.java_stacks import java_threads
from opsdoc.model import Malformed
from opsdoc.parsers.java_threads import parse

SAMPLES = Path(__file__).parents[1] / "unit" / "samples"
SEEDS = [(SAMPLES / f"threads-{version}.json").read_bytes() for version in ("21", "25")]
DUMP = (SAMPLES / "hotspot-21.txt").read_bytes()
WANTED = {19, 20, 22, 24, 10**19 - 1}

frugal = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def check_total(data: bytes) -> None:
    try:
        value: object = parse(data, WANTED)
    except Malformed as refused:
        value = refused.detail
    repr(value).encode()  # a lone surrogate would fail
    seen = java_threads(DUMP, {6565}, data)[6565]
    assert (seen.doubt is None) != (seen.frames == ())
    assert not any(frame.function.startswith("jdk.internal.vm.Continuation.run") for frame in seen.frames)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A real file, cut, doubled or with bytes replaced."""
    data = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 4))):
        at, to = sorted([draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))])
        pieces = [
            b"",
            data[at:to],
            b"\n",
            b'"',
            b"9" * 5000,
            b"\xed\xa0\x80",
            b"\\ud800",
            b"[" * 5000,
            b"{",
            b'"tid": "24"',
        ]
        data = data[:at] + draw(st.sampled_from(pieces)) + data[draw(st.sampled_from([at, to])) :]
    return data


@frugal
@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    check_total(data)
    check_total(b'{"threadDump":{' + data)
    check_total(b'{"threadDump":{{"tid":"19",' + data)


@frugal
@given(damaged())
def test_damaged_files(data: bytes) -> None:
    check_total(data)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["tid", "name", "stack", "state", "carrier", "threads"]), inner)
    ),
    max_leaves=12,
)


@frugal
@given(st.dictionaries(st.sampled_from(["name", "stack", "state", "carrier", "threads"]), VALUES))
def test_any_thread(members: dict[str, object]) -> None:
    check_total(json.dumps({"threadDump": {"threads": [{"tid": "24", **members}]}}).encode())


PIECES = st.sampled_from(
    [
        '"',
        "\\",
        "{",
        "}",
        "\n",
        '{"tid": "20",',
        '"tid": "20"',
        '\\{ \\"tid\\": 20,',
        " ",
        "x",
        "é",
        "\U0001f600",
        "]}}",
    ]
)


@frugal
@given(st.lists(st.lists(PIECES, max_size=8).map("".join), min_size=1, max_size=5), st.sampled_from([None, 2]))
def test_hostile_names(names: list[str], indent: int | None) -> None:
    threads = [
        {"tid": str(30 + n), "name": name, "stack": [f"com.acme.T{n}.run(T.java:{n})"]} for n, name in enumerate(names)
    ]
    data = json.dumps({"threadDump": {"threadContainers": [{"threads": threads}]}}, indent=indent).encode()
    found = parse(data, {20, *range(30, 40)})
    assert found.complete
    assert [thread.name for thread in found.threads.values()] == names
    assert [str(thread.frames[0]) for thread in found.threads.values()] == [
        f"com.acme.T{n}.run (T.java:{n})" for n in range(len(names))
    ]
