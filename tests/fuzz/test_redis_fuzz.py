"""What a cache, or whoever answers in its place, may say: any bytes end in a value or in Malformed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opsdoc.model import Malformed
from opsdoc.parsers import cache_url, memcached, redis_info, redis_text, redis_topology, resp

SAMPLES = Path(__file__).parents[1] / "unit" / "samples"
INFOS = [path.read_bytes() for path in sorted((SAMPLES / "redis").glob("*.txt"))]
REPLIES = json.loads((SAMPLES / "redis/replies-7.0.json").read_text())
STATS = (SAMPLES / "memcached/stats-1.6.18.txt").read_bytes()
RESP = [
    b"+OK\r\n", b"-NOPERM no\r\n", b":-7\r\n", b"$5\r\na\r\nbc\r\n", b"$-1\r\n", b"*-1\r\n",
    b"*2\r\n:1\r\n*1\r\n$0\r\n\r\n",
    b"*1\r\n*4\r\n:1\r\n:2\r\n:3\r\n*3\r\n$3\r\nset\r\n$1\r\na\r\n$26\r\n... (69 more arguments)xyz\r\n",
    b"$99999999\r\n", b"*999999\r\n", b"*1\r\n" * 20, b"%1\r\n", b"HTTP/1.1 400\r\n", b":9999999999999999999999\r\n",
]  # fmt: skip
PIECES = [
    b"\r\n", b"\n", b":", b",", b"=", b"@", b"-", b"\xff", b"\0", "٣".encode(), b"9" * 400, b"db0:", b"slave0:ip=",
    b"e9", b"master0:name=", b"cmdstat_a:calls=1,usec=1e9", b"errorstat_x:count=", b"[5->-",
    b"latency_percentiles_usec_a:pnan=inf", b"0-16384", b"STAT 1:chunk_size ", b"items:1:", b"END\r\n", b"ERROR",
]  # fmt: skip

frugal = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["master", "slave", "sentinel"]),
    lambda inner: st.lists(inner, max_size=6),
    max_leaves=20,
)
replies = st.recursive(
    st.none() | st.integers() | st.binary(max_size=40) | st.builds(resp.Failure, st.text(max_size=20)),
    lambda inner: st.lists(inner, max_size=7),
    max_leaves=20,
)


@st.composite
def damaged(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A real one, cut, doubled or with bytes replaced."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 4))):
        at, to = sorted([draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))])
        piece = draw(st.sampled_from([b"", data[at:to], *PIECES]))
        data = data[:at] + piece + data[draw(st.sampled_from([at, to])) :]
    return data


class _NoMore(Exception):
    """All bytes were received."""


def arriving(data: bytes, piece: int) -> Callable[[], bytes]:
    pieces = iter([data[at : at + piece] for at in range(0, len(data), piece)])

    def receive() -> bytes:
        for found in pieces:
            return found
        raise _NoMore

    return receive


def read_all(reply: Callable[[], object]) -> Iterator[object]:
    with contextlib.suppress(_NoMore, Malformed):
        while True:
            yield reply()


def check_plain(value: object) -> None:
    """What can be recorded, and is the same when it is read again."""
    assert json.loads(json.dumps(value, ensure_ascii=False, allow_nan=False).encode()) == value


# ── RESP ─────────────────────────────────────────────────────────────────────────────────────────


def check_replies(data: bytes, piece: int) -> None:
    seen = list(read_all(resp.Reader(arriving(data, piece)).reply))
    assert seen == list(read_all(resp.Reader(arriving(data, 1 << 20)).reply))
    for reply in seen:
        check_plain(redis_text.plain(reply))
        with contextlib.suppress(Malformed):
            redis_text.slow_log(reply)


@frugal
@given(st.binary(max_size=300) | damaged([b"".join(RESP[:8]), *RESP]), st.integers(1, 40))
def test_replies_from_any_bytes_in_any_pieces(data: bytes, piece: int) -> None:
    check_replies(data, piece)


@frugal
@given(replies)
def test_any_reply_can_be_shown_or_refused(reply: resp.Reply) -> None:
    check_plain(redis_text.plain(reply))
    with contextlib.suppress(Malformed):
        for slow in redis_text.slow_log(reply):
            check_plain(slow._asdict())


@frugal
@given(st.lists(st.binary(max_size=50), min_size=1, max_size=5))
def test_a_command_is_read_as_it_was_written(words: list[bytes]) -> None:
    assert resp.Reader(arriving(resp.command(words), 3)).reply() == words


@frugal
@given(st.binary(max_size=2000))
def test_keys_are_printable_whatever_they_are(key: bytes) -> None:
    name = redis_text.key_name(key)
    assert name.isprintable()
    assert len(name) < 250
    check_plain(name)


# ── texts ────────────────────────────────────────────────────────────────────────────────────────


def check_text(text: str) -> None:
    with contextlib.suppress(Malformed):
        info = redis_info.parse(text)
        for name in list(info.fields)[:50]:
            assert info.text(name) is None or isinstance(info.text(name), str)
            info.whole(name), info.number(name), info.flag(name)
        for tables in (info.commands, info.latencies, info.databases, info.replicas, info.watched):
            assert all(isinstance(one, tuple) for one in tables)
        assert all(isinstance(count, int) for count in info.errors.values())
    with contextlib.suppress(Malformed):
        redis_topology.cluster_info(text)
    with contextlib.suppress(Malformed):
        for node in redis_topology.cluster_nodes(text):
            assert node.slot_count >= 0
    redis_topology.quorum(text)
    with contextlib.suppress(Malformed):
        address = cache_url.redis_url(text).address
        assert address.isprintable()
    with contextlib.suppress(Malformed):
        cache_url.memcached_server(text)


@frugal
@given(st.text(max_size=300))
def test_any_text(text: str) -> None:
    check_text(text)


@frugal
@given(damaged(INFOS))
def test_damaged_texts(data: bytes) -> None:
    check_text(data.decode("utf-8", "backslashreplace"))


@frugal
@given(st.text(st.sampled_from("redisunxvalky:/@[]?#&=%,.0123456789 ٣-"), max_size=60))
def test_nearly_urls(text: str) -> None:
    for prefix in ("", "redis://", "unix://", "rediss://a:b@"):
        with contextlib.suppress(Malformed):
            cache_url.redis_url(prefix + text)


# ── JSON, as a recording may hold it ─────────────────────────────────────────────────────────────


@frugal
@given(json_values | st.sampled_from(list(REPLIES.values())))
def test_any_json(value: object) -> None:
    for parse in (redis_topology.role, redis_topology.members, redis_topology.master_address, redis_topology.pairs):
        with contextlib.suppress(Malformed):
            parse(value)


# ── memcached ────────────────────────────────────────────────────────────────────────────────────


@frugal
@given(st.binary(max_size=300) | damaged([STATS]), st.integers(1, 900))
def test_stats_from_any_bytes_in_any_pieces(data: bytes, piece: int) -> None:
    seen = list(read_all(memcached.Reader(arriving(data, piece)).answer))
    for answer in seen:
        if not isinstance(answer, memcached.Refusal):
            check_plain(answer)
            stats = memcached.Stats(answer)
            assert all(slab.number >= 0 for slab in stats.slabs)
            for name in answer:
                stats.text(name), stats.whole(name), stats.number(name)
