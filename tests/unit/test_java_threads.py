"""The JVM's own JSON dump of its threads: the few that are wanted, of however many."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from opsdoc.model import Frame, Malformed
from opsdoc.parsers.java_threads import ListedThread, parse
from opsdoc.redact import Redactor

SAMPLES = Path(__file__).parent / "samples"
HOT = Frame("com.acme.OrderPricer.recalculate", "OrderPricer.java", 13)


def sample(version: str) -> bytes:
    return (SAMPLES / f"threads-{version}.json").read_bytes()


def listed(*threads: object, indent: int | None = 2) -> bytes:
    """A file as the JVM writes it, with these threads."""
    containers = [{"container": "<root>", "parent": None, "threads": list(threads), "threadCount": str(len(threads))}]
    return (
        json.dumps({"threadDump": {"processId": "7", "threadContainers": containers}}, indent=indent).encode() + b"\n"
    )


def one(number: int = 19, **changes: object) -> dict[str, object]:
    return {"tid": str(number), "name": "order-7", "stack": ["com.acme.A.b(A.java:3)"], **changes}


@pytest.mark.parametrize(("version", "number", "carrier"), [("21", 19, 20), ("25", 22, 23)])
def test_a_virtual_thread_and_its_carrier(version: str, number: int, carrier: int) -> None:
    found = parse(sample(version), {number, carrier, 4711})
    assert found.complete
    assert set(found.threads) == {number, carrier}
    hot = found.threads[number]
    assert (hot.number, hot.name, hot.frames[0]) == (number, "order-7", HOT)
    assert hot.frames[-1] == Frame("java.lang.VirtualThread.run")
    assert (hot.state, hot.carrier) == ((None, None) if version == "21" else ("RUNNABLE", carrier))
    assert found.threads[carrier].name == "ForkJoinPool-1-worker-1"
    assert found.threads[carrier].frames[0].function == "jdk.internal.vm.Continuation.run"


def test_nothing_wanted_is_nothing_found() -> None:
    assert parse(sample("21"), ()).threads == {}


@pytest.mark.parametrize("indent", [None, 0, 2])
def test_white_space_and_the_kind_of_numbers_make_no_difference(indent: int | None) -> None:
    want = {19: ListedThread(19, "order-7", None, None, (Frame("com.acme.A.b", "A.java", 3),))}
    assert parse(listed(one(), indent=indent), {19}) == (want, True)
    assert parse(listed(one(tid=19), indent=indent), {19}) == (want, True)


def test_a_name_cannot_forge_a_thread() -> None:
    evil = '{"tid": "19", "name": "fake", "stack": []}'
    names = [evil, f"}} , {evil}", 'x"\n{ "tid": "19",', "\\"]
    found = parse(listed(*(one(number, name=name) for number, name in enumerate(names, 30))), {19, 30, 31, 32, 33})
    assert [found.threads[number].name for number in range(30, 34)] == names
    assert 19 not in found.threads


def test_a_file_cut_short_tells_what_it_has() -> None:
    data = sample("21")
    end = data.index(b'"tid": "22"')
    whole = parse(data, {19}).threads
    assert parse(data[:end], {19, 22}) == (whole, False)
    assert parse(data[: end + 400], {19, 22}) == (whole, False)
    for cut in range(0, len(data) - 4, 37):
        if data.startswith(b'{\n  "threadDump": {', 0, cut):
            assert not parse(data[:cut], {19}).complete


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\xff" * 50,
        b"[]",
        b'{"other": {}}',
        listed(one(), one()),
        listed(one(stack="com.acme.A.b(A.java:3)")),
        listed(one(carrier="many")),
        listed(one(carrier="9" * 5000)),
        listed(one()).replace(b'"order-7"', b'"order\n7"'),
    ],
    ids="empty binary list other twice stack carrier digits text".split(),
)
def test_what_is_no_such_file_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        parse(data, {19})
    assert len(caught.value.detail) < 150


@pytest.mark.parametrize(
    "bomb", [b"[" * 400_000, b'{"a":' * 400_000, b"9" * 900_000], ids=["lists", "objects", "digits"]
)
def test_a_bomb_within_a_thread_is_malformed(bomb: bytes) -> None:
    data = listed(one()).replace(b'"order-7"', bomb) + b" " * (2 << 20)
    began = time.process_time()
    with pytest.raises(Malformed):
        parse(data, {19})
    assert time.process_time() - began < 10


def test_a_bomb_elsewhere_is_not_read() -> None:
    data = listed(one()).replace(b'"7"', b"[" * 400_000)
    assert set(parse(data, {19}).threads) == {19}


def test_odd_text_is_shown_and_no_lone_surrogate_gets_in() -> None:
    data = listed(one(name="\ud800x", stack=["strange", "com.acme.A.\udc00(A.java:3)", 7]))
    thread = parse(data, {19}).threads[19]
    assert thread.name == r"\xed\xa0\x80x".replace(r"\xed\xa0\x80", r"\ud800")
    assert [frame.function for frame in thread.frames] == ["strange", r"com.acme.A.\udc00"]
    assert (
        parse(listed(one()).replace(b"order-7", b"order-\xff"), {19}).threads[19].name
        == "order-\N{REPLACEMENT CHARACTER}"
    )


def test_a_recording_of_it_holds_no_secret_and_can_still_be_read() -> None:
    data = listed(one(), one(20, name="login --password=hunter2hunter2"))
    kept = Redactor().lines(data)
    assert b"hunter2" not in kept
    assert parse(kept, {19}).threads[19].name == "order-7"


def test_one_of_a_hundred_thousand_is_found_quickly() -> None:
    thread = json.dumps(one(1, stack=["com.acme.A.b(A.java:3)"] * 20), indent=2).replace('"1"', '"%d"')
    data = (
        b'{"threadDump": {"threadContainers": [{"threads": ['
        + ",".join([thread % number for number in range(1_000_000, 1_068_000)]).encode()
    )
    assert 40 << 20 < len(data) < 64 << 20
    began = time.process_time()
    assert set(parse(data, {1_067_999}).threads) == {1_067_999}
    # Measured: 0.15 s. To read it all as JSON takes 1 s and 300 MB.
    assert time.process_time() - began < 10
