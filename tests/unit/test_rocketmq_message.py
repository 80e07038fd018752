"""Messages as RocketMQ hands them out: real ones, both formats, packed bodies, and lengths that lie."""

from __future__ import annotations

import base64
import json
import struct
import tracemalloc
import zlib
from pathlib import Path

import pytest

from opsdoc.model import Malformed
from opsdoc.parsers.rocketmq_message import BODY_SHOWN, parse

REPLIES = json.loads((Path(__file__).parent / "samples/rocketmq/replies-4.9.3.json").read_text())
DEAD = [base64.b64decode(reply["body_b64"]) for reply in REPLIES if reply["code"] == 33]
V1, V2 = -626843481, -626843477


def made(
    *,
    magic=V1,
    flag=0,
    body=b"hello",
    topic=b"T",
    properties=b"KEYS\1k\2",
    hosts=(b"\x7f\0\0\1", b"\x0a\0\0\1"),
    size=0,
):
    """The bytes of a message, as MessageDecoder reads them."""
    rest = struct.pack(">qi", 1795384070179, len(hosts[0]))[:8] + hosts[0] + struct.pack(">i", 4242)
    rest += struct.pack(">q", 1795384070180) + hosts[1] + struct.pack(">i", 10911)
    rest += struct.pack(">iqi", 3, 0, len(body)) + body
    rest += (bytes([len(topic)]) if magic == V1 else struct.pack(">h", len(topic))) + topic
    rest += struct.pack(">h", len(properties)) + properties
    head = struct.pack(">iIiiqqi", magic, 0xDEADBEEF, 2, 0, 7, 4096, flag)
    return struct.pack(">i", size or 4 + len(head) + len(rest)) + head + rest


def test_dead_letters_as_they_were():
    messages = [parse(data) for data in DEAD]
    assert len(messages) == 6
    assert sorted(message.body for message in messages) == [f"hello-{n}".encode() for n in range(6)]
    assert {message.properties["KEYS"] for message in messages} == {f"K{n}" for n in range(6)}
    assert {(m.topic, m.properties["RETRY_TOPIC"], m.properties["REAL_TOPIC"]) for m in messages} == {
        ("%DLQ%g_dlq", "TDLQ", "%RETRY%g_dlq")
    }
    assert [(m.queue_offset, m.physical_offset) for m in messages] == [(n, 32484 + 300 * n) for n in range(6)]
    first = messages[0]
    assert (first.size, first.reconsumed, first.queue, first.body_size, first.compression) == (300, 3, 0, 7, None)
    assert (first.born_host, first.store_host) == ("127.0.0.1:56704", "127.0.0.1:20911")
    assert first.stored_at - first.born_at == 66_460, "how long it was tried, in ms"


def test_the_second_format_has_long_topics():
    message = parse(made(magic=V2, topic=b"t" * 300))
    assert message.topic == "t" * 300
    assert message.properties == {"KEYS": "k"}


def test_hosts_by_ipv6():
    six = (b"\0" * 15 + b"\1", b"\xfe\x80" + b"\0" * 13 + b"\2")
    message = parse(made(flag=0x30, hosts=six))
    assert (message.born_host, message.store_host, message.reconsumed) == ("[::1]:4242", "[fe80::2]:10911", 3)
    mixed = parse(made(flag=0x20, hosts=(b"\x7f\0\0\1", six[1])))
    assert (mixed.born_host, mixed.store_host) == ("127.0.0.1:4242", "[fe80::2]:10911")


@pytest.mark.parametrize("kind", [0, 3])
def test_a_body_packed_by_zlib(kind):
    packed = zlib.compress(b"order 17")
    message = parse(made(flag=1 | kind << 8, body=packed))
    assert (message.body, message.body_size, message.compression) == (b"order 17", len(packed), "zlib")


@pytest.mark.parametrize(("kind", "name"), [(1, "lz4"), (2, "zstd"), (7, "unknown")])
def test_a_body_packed_otherwise_is_not_guessed(kind, name):
    message = parse(made(flag=1 | kind << 8, body=b"\x04\x22packed"))
    assert (message.body, message.body_size, message.compression) == (None, 8, name)


def test_a_body_that_is_not_packed_as_it_says():
    assert parse(made(flag=1, body=b"plain")).body is None


def test_a_bomb_is_unpacked_no_further_than_it_is_shown():
    packed = zlib.compress(b"\0" * (100 << 20), 9)
    assert len(packed) < 110_000
    data = made(flag=1, body=packed)
    tracemalloc.start()
    message = parse(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert message.body == b"\0" * BODY_SHOWN
    assert peak < 1 << 20


def test_properties_as_they_come():
    pairs = b"a\1b\2\2c\2d\1\2e\1f\1g\2\xff\1\xfe"
    assert parse(made(properties=pairs)).properties == {"a": "b", "d": "", "e": "f\1g", "\\xff": "\\xfe"}
    assert parse(made(properties=b"")).properties == {}


@pytest.mark.parametrize("cut", [0, 3, 4, 8, 47, 48, 60, 80, 92, 100, 105, 110, 299])
def test_a_message_that_ends_early(cut):
    with pytest.raises(Malformed):
        parse(DEAD[0][:cut])
    cut_and_said_so = struct.pack(">i", cut) + DEAD[0][4:cut]
    with pytest.raises(Malformed):
        parse(cut_and_said_so)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        DEAD[0] + b"\0",
        made(magic=V1 + 1),
        made(size=4),
        made(size=-1),
        made(size=2**31 - 1),
        made(topic=b"t" * 200),  # its length is signed in the first format
        made().replace(struct.pack(">i", 5) + b"hello", struct.pack(">i", 2**31 - 1) + b"hello"),
        made().replace(struct.pack(">i", 5) + b"hello", struct.pack(">i", -5) + b"hello"),
    ],
)
def test_lengths_that_lie(data):
    with pytest.raises(Malformed) as caught:
        parse(data)
    assert len(caught.value.detail) < 200
