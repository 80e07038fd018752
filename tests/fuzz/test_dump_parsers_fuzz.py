"""Dump parsers are total, and no thread name can make them take one thread for another."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opsdoc.looks.python_stacks import PythonStacks
from opsdoc.model import Malformed, Unsupported
from opsdoc.parsers.detect import kind
from opsdoc.parsers.hotspot_dump import parse
from opsdoc.parsers.pyspy import build_of, complaint, deleted, parse_json, parse_text
from opsdoc.signals.origin import classify, java_origin, python_origin

SAMPLES = Path(__file__).parents[1] / "unit" / "samples"
SEEDS = [path.read_bytes() for path in sorted(p for p in SAMPLES.iterdir() if p.is_file())]

frugal = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A real dump, cut, doubled or with bytes replaced."""
    data = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 4))):
        at, to = sorted([draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))])
        middle = draw(st.sampled_from([b"", data[at:to] * 2, b"\n", b'"', b"9" * 5000, b"\xed\xa0\x80", b"\0", b"["]))
        data = data[:at] + middle + data[draw(st.sampled_from([at, to])) :]
    return data


def check_total(data: bytes) -> None:
    value: object
    for read in (parse, lambda d: parse(d, {1, 6771}), parse_json, parse_text):
        try:
            value = read(data)
        except Malformed as refused:
            value = (refused.detail,)
        repr(value).encode()  # a lone surrogate would fail
    kind(data)


@frugal
@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    check_total(data)
    check_total(b"Full thread dump X (1 m):\n" + data)
    check_total(b"Thread 1 (idle)\n" + data)


@frugal
@given(damaged())
def test_damaged_dumps(data: bytes) -> None:
    check_total(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(
                ["thread_id", "thread_name", "os_thread_id", "active", "owns_gil", "frames", "name", "line"]
            ),
            inner,
        )
    ),
    max_leaves=12,
)


@frugal
@given(JSON)
def test_any_json(value: object) -> None:
    check_total(json.dumps(value).encode())


# What an attacker would put into a name: pieces of the format, with other threads' ids. The address is what he cannot
# know; the test of a forged address is in the unit tests.
PIECES = st.sampled_from(
    [
        '"',
        '" ',
        "\n",
        "\n\n",
        '\n\n"',
        "\t",
        " ",
        "[12] ",
        "#5 ",
        "nid=0x3e8",
        "nid=1000",
        "tid=0x1 ",
        "x",
        "é",
        "\U0001f600",
        '"fake" #1 prio=5 os_prio=0 tid=0x1 nid=0x3e8 runnable\n',
        '"fake" #1 [1000] prio=5 tid=0x1 nid=1000 runnable\n\n',
        '\n"VM Thread" os_prio=0 cpu=1.00ms elapsed=1.00s tid=0x1 nid=0x3e8 runnable\n',
        "JNI global refs: 1, weak refs: 0\n",
        "Full thread dump X (1 mixed mode):\n",
        "\tat com.fake.Fake.fake(Fake.java:1)\n",
        "   Carrying virtual thread #9\n",
        "   java.lang.Thread.State: RUNNABLE\n",
        "\n   Locked ownable synchronizers:\n",
        "   Mounted virtual thread #9\n",
        "_java_thread_list=0x1, length=1, elements={\n0x1\n}\n",
        "Thread 1000 (active)\n",
    ]
)
NAMES = st.lists(PIECES, max_size=8).map("".join)


def dump(names: list[str], style: str, owned: str) -> str:
    """A dump as a JVM prints it, with one thread for each name."""
    address = [f"0x{0x7F0000001000 + n * 0x800:016x}" for n in range(len(names) + 1)]
    out = [
        "2026-01-01 00:00:00\nFull thread dump OpenJDK 64-Bit Server VM (17.0.15+6 mixed mode):\n\n"
        f"Threads class SMR info:\n_java_thread_list=0x00007f0000000fff, length={len(names)}, elements={{\n"
        + ", ".join(address[:-1])
        + "\n}\n\n"
    ]
    for n, name in enumerate(names):
        tid = 1000 + n
        os_id = {"hex": f"nid=0x{tid:x} runnable", "decimal": f"nid={tid} runnable", "carrier": ""}[style]
        bracket = "" if style == "hex" else f"[{tid}] "
        state = "Carrying virtual thread #77" if style == "carrier" else "java.lang.Thread.State: RUNNABLE"
        out.append(
            f'"{name}" #{n + 7} {bracket}prio=5 os_prio=0 cpu=1.50ms elapsed=2.00s tid={address[n]} {os_id} [0x1]\n'
            f"   {state}\n\tat com.acme.T{n}.run(T.java:{n + 1})\n{owned}\n"
        )
    out.append(f'"VM Thread" os_prio=0 cpu=1.00ms elapsed=2.00s tid={address[-1]} nid=0x1 runnable  \n\n')
    out.append("JNI global refs: 4, weak refs: 0\n\n")
    return "".join(out)


@frugal
@given(
    st.lists(NAMES, min_size=1, max_size=5),
    st.sampled_from(["hex", "decimal", "carrier"]),
    st.sampled_from(["", "\n   Locked ownable synchronizers:\n\t- None\n"]),
)
def test_hostile_thread_names(names: list[str], style: str, owned: str) -> None:
    got = parse(dump(names, style, owned).encode())
    assert [t.tid for t in got.threads] == [*range(1000, 1000 + len(names)), 1]
    assert [t.number for t in got.threads] == [*range(7, 7 + len(names)), None]
    assert [t.name for t in got.threads] == [*names, "VM Thread"]
    for n, thread in enumerate(got.threads[:-1]):
        assert [str(frame) for frame in thread.frames] == [f"com.acme.T{n}.run (T.java:{n + 1})"]
        assert thread.mounted == ()
        assert thread.cpu_seconds == 0.0015
        assert thread.carrying == (77 if style == "carrier" else None)
    assert got.complete
    assert not got.ambiguous


@frugal
@given(st.lists(NAMES, min_size=1, max_size=4))
def test_pyspy_round_trip(names: list[str]) -> None:
    threads = [
        {
            "thread_id": n + (1 << 47),
            "os_thread_id": 1000 + n,
            "thread_name": name,
            "active": True,
            "owns_gil": False,
            "frames": [{"name": f"f{n}", "filename": "/srv/app.py", "line": n}],
        }
        for n, name in enumerate(names)
    ]
    data = json.dumps(threads, indent=2).encode()
    assert kind(data) == "pyspy-json"
    got = parse_json(data)
    assert [(t.tid, t.name, t.frames[0].function) for t in got] == [
        (1000 + n, name, f"f{n}") for n, name in enumerate(names)
    ]


@frugal
@given(damaged() | st.binary(max_size=300))
def test_what_py_spy_complains_of_is_a_line_whatever_it_writes(data: bytes) -> None:
    for stderr in (data, b"Error: " + data, b"Error: x\n\nCaused by:\n    0: " + data):
        said = complaint(stderr)
        assert 0 < len(said) <= 200
        assert "\n" not in said
    text = data.decode("utf-8", "backslashreplace")
    build_of(frozenset(text.splitlines()))
    deleted(text)


@frugal
@given(
    st.lists(
        st.tuples(st.integers(0, (1 << 64) - 1), st.none() | st.integers(0, 9)),
        max_size=6,
        unique_by=lambda thread: thread[0],
    ),
    st.lists(st.tuples(st.integers(0, (1 << 64) - 1), st.none() | st.integers(1, 9)), max_size=6),
)
def test_no_handle_gives_a_thread_an_id_that_was_not_found_for_it(
    threads: list[tuple[int, int | None]], ids: list[tuple[int, int | None]]
) -> None:
    dump = json.dumps(
        [
            {
                "thread_id": handle,
                "os_thread_id": tid,
                "thread_name": f"{handle} {tid}",
                "active": True,
                "owns_gil": False,
                "frames": [],
            }
            for handle, tid in threads
        ]
    ).encode()
    stacks = PythonStacks(1, 1)
    question = stacks.complement([dump, dump], set())
    assert (question is None) == all(tid is not None for _, tid in threads)
    answer = [[handle, tid] for handle, tid in ids]
    try:
        seen = stacks.read(dump, None, answer)
    except Unsupported:
        return
    for tid, thread in seen.items():
        handle, own = thread.name.split()
        assert tid == (dict(ids)[int(handle)] if own in ("None", "0") else int(own))


@frugal
@given(st.text(), st.text())
def test_origins_are_total(function: str, file: str) -> None:
    assert java_origin(function) in ("app", "library", "runtime")
    assert python_origin(file) in ("app", "library", "runtime")
    assert len(classify((), "java")) == 0
