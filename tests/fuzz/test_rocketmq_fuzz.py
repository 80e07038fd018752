"""What a broker, a producer or a file may say to us: any bytes end in a value or in Malformed."""

from __future__ import annotations

import base64
import contextlib
import json
import struct
import zlib
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opsdoc.model import Malformed
from opsdoc.parsers import fastjson, remoting, rocketmq_acl, rocketmq_message, rocketmq_names
from opsdoc.parsers.remoting import Command

SAMPLES = Path(__file__).parents[1] / "unit" / "samples" / "rocketmq"
REPLIES = json.loads((SAMPLES / "replies-4.9.3.json").read_text())
BODIES = [base64.b64decode(reply["body_b64"]) for reply in REPLIES if reply["code"] not in (33, 307)]
MESSAGES = [base64.b64decode(reply["body_b64"]) for reply in REPLIES if reply["code"] == 33]

frugal = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
names = st.text(st.sampled_from("ab_-+%|1"), min_size=1, max_size=5)


@st.composite
def damaged(draw: st.DrawFn, seeds: list[bytes], pieces: list[bytes]) -> bytes:
    """A real one, cut, doubled or with bytes replaced."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 4))):
        at, to = sorted([draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))])
        piece = draw(st.sampled_from([b"", data[at:to], *pieces]))
        data = data[:at] + piece + data[draw(st.sampled_from([at, to])) :]
    return data


# ── fastjson ─────────────────────────────────────────────────────────────────────────────────────


def check_plain(value: Any) -> None:
    """What can be recorded, and is the same when it is read again."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    assert json.loads(text.encode()) == value


def check_json(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        check_plain(fastjson.parse(data))
    with contextlib.suppress(Malformed):
        check_plain(fastjson.object_key(data.decode("utf-8", "replace")))
    with contextlib.suppress(Malformed):
        rocketmq_names.queue(data.decode("utf-8", "surrogateescape"))


PIECES = [
    b'{"a":1}:', b"{0:1}", b",{", b'"', b"\\", b"\\ud800", b"\xed\xa0\x80", b"NaN", b"-Infinity", b"1e999", b"[" * 200,
    b"{1:" * 200, b'{"$ref":"$"}', b'{"$ref":"$.offsetTable"}', b'{"$ref":"$[0]"}', b":", b"}", b"9" * 500, b" ", b",",
]  # fmt: skip


@frugal
@given(st.binary(max_size=300) | damaged(BODIES, PIECES) | st.lists(st.sampled_from(PIECES)).map(b"".join))
def test_any_json(data: bytes) -> None:
    check_json(data)


FINITE = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | st.integers(-(10**18), 10**18) | FINITE | st.text(max_size=8)
OBJECTS = st.dictionaries(st.text(max_size=6), SCALARS, max_size=3)


def written(value: Any) -> str:
    """As fastjson writes it: a map is a list of pairs here, whose keys may be anything."""
    if isinstance(value, tuple):
        return "{" + ",".join(f"{written(key)}:{written(inner)}" for key, inner in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def read(value: Any) -> Any:
    """What should come of it."""
    if isinstance(value, tuple):
        return {key if isinstance(key, str) else written(key): read(inner) for key, inner in value}
    return [read(inner) for inner in value] if isinstance(value, list) else value


KEYS = st.text(max_size=8) | st.integers(0, 10**6) | st.integers(-5, -1) | OBJECTS
MAPS = st.recursive(
    SCALARS | st.sampled_from(['"x,{"a":1}:', "{0:", ',7:"', "}:1,3:", '\\"{']),
    lambda inner: st.lists(inner, max_size=4) | st.lists(st.tuples(KEYS, inner), max_size=4).map(tuple),
    max_leaves=20,
)


@frugal
@given(MAPS)
def test_what_was_written_is_read(value: Any) -> None:
    text = written(value)
    if '"$ref"' not in text:
        assert fastjson.parse(text.encode("utf-8", "replace")) == read(value)
        assert fastjson._Tolerant(text).value() == read(value)


@frugal
@given(st.recursive(st.integers(0, 9), lambda inner: st.dictionaries(st.sampled_from("ab"), inner) | st.lists(inner)))
def test_both_ways_read_json_as_json_does(value: Any) -> None:
    text = json.dumps(value)
    assert fastjson.parse(text.encode()) == fastjson._Tolerant(text).value() == value


@frugal
@given(st.data())
def test_references_never_hang_nor_lead_in_circles(data: st.DataObject) -> None:
    paths = st.sampled_from(["$", "..", "@", "$.a", "$.a.a", "$.b[0]", "$.b", "$.a.b[1]", "$[0]", "$.", "$.a["])
    refs = paths.map(lambda path: {"$ref": path})
    value = data.draw(
        st.recursive(
            refs | st.integers(0, 3),
            lambda inner: st.dictionaries(st.sampled_from(["a", "b"]), inner) | st.lists(inner, max_size=4),
            max_leaves=30,
        )
    )
    check_json(json.dumps(value).encode())


# ── frames ───────────────────────────────────────────────────────────────────────────────────────

TEXTS = st.text(max_size=20)
NUMBERS = st.integers(-(2**31), 2**31 - 1)


@frugal
@given(
    st.builds(
        Command,
        code=st.integers(-(2**15), 2**15 - 1),
        opaque=NUMBERS,
        fields=st.dictionaries(TEXTS, TEXTS, max_size=4),
        body=st.binary(max_size=50),
        flag=NUMBERS,
        version=st.integers(0, 2**15 - 1),
        remark=st.none() | st.text(min_size=1, max_size=20),
    ),
    st.booleans(),
)
def test_every_command_there_and_back(command: Command, is_binary: bool) -> None:
    frame = remoting.encode(command, binary=is_binary)
    assert remoting.length(frame[:4]) == len(frame) - 4
    assert remoting.decode(frame[4:]) == command


FRAMES = [
    remoting.encode(Command(17, 7, {"offset": "42", "k": "v"}, b"{}", 1, 399, "remark"), binary=is_binary)[4:]
    for is_binary in (False, True)
]


@frugal
@given(
    st.binary(max_size=200)
    | damaged(FRAMES, [b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\1", b'"', b"\xed\xa0\x80"])
)
def test_any_frame(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        assert 4 <= remoting.length(data[:4]) <= remoting.MAX_FRAME
    for frame in (data, b"\0\0\0" + data[:1] + data, b"\1\0\0" + data[:1] + data):
        with contextlib.suppress(Malformed):
            command = remoting.decode(frame)
            check_plain([command.code, command.opaque, command.flag, command.remark, dict(command.fields)])
            assert len(command.body) <= len(frame)


# ── messages ─────────────────────────────────────────────────────────────────────────────────────

LIES = [b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\1", b"\2", b"\0\0\0\x31", zlib.compress(b"x" * 9999)]


@frugal
@given(damaged(MESSAGES, LIES) | st.binary(max_size=200), st.integers(0, 0x7FF), st.booleans())
def test_any_message(data: bytes, flag: int, is_second: bool) -> None:
    variants = [data]
    if len(data) > 48:  # with lengths that fit it, so that what stands within is read
        magic = -626843477 if is_second else -626843481
        variants.append(struct.pack(">ii", len(data), magic) + data[8:36] + struct.pack(">i", flag) + data[40:])
    for variant in variants:
        with contextlib.suppress(Malformed):
            message = rocketmq_message.parse(variant)
            assert message.body is None or len(message.body) <= rocketmq_message.BODY_SHOWN
            assert 0 <= message.body_size <= len(variant)
            check_plain({**message._asdict(), "body": None})


# ── credentials and names ────────────────────────────────────────────────────────────────────────

LINES = st.lists(
    st.sampled_from(["accessKey", "secretKey", "- ", " ", ":", "=", "'", '"', "#", "a.b", "\n", "\r", "\x0c", "hush"])
)


@frugal
@given(st.text() | LINES.map("".join))
def test_any_file_of_credentials(text: str) -> None:
    with contextlib.suppress(Malformed):
        found = rocketmq_acl.credentials(text)
        assert found.access_key
        assert found.secret_key
        assert rocketmq_acl.signed({"topic": text}, b"", found)["Signature"]


@frugal
@given(st.sets(names, max_size=4), st.sets(names, max_size=4))
def test_what_belongs_to_a_group_is_found(groups: set[str], topics: set[str]) -> None:
    for group in groups:
        assert rocketmq_names.owners(rocketmq_names.retry_topic(group), groups, topics)[0].group == group
        for topic in topics:
            for name in rocketmq_names.pop_retry_topics(group, topic):
                found = rocketmq_names.owners(name, groups, topics)
                assert any((owner.group, owner.topic) == (group, topic) for owner in found)


@frugal
@given(st.integers())
def test_any_version(ordinal: int) -> None:
    name = rocketmq_names.version_name(ordinal)
    assert (name is None) == (ordinal < 0 or ordinal >= 612)
