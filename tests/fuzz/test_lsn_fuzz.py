"""Any text is a position or Malformed, any answer of a server is a look or Malformed, and no pair of looks crashes."""

from __future__ import annotations

import contextlib
import shlex

from hypothesis import given
from hypothesis import strategies as st

from opsdoc.clients.sql import Said
from opsdoc.looks.postgresql_lag import lags, slots
from opsdoc.looks.postgresql_pairs import Server
from opsdoc.looks.postgresql_sides import look
from opsdoc.model import Malformed, Unknown, known
from opsdoc.parsers.lsn import gap, lsn, shown

POSITIONS = st.none() | st.integers(0, 1 << 64).filter(lambda n: n < 1 << 64).map(shown)
SECONDS = st.none() | st.floats(-1e6, 1e12, allow_nan=False) | st.integers(-5, 5)
NAMES = st.none() | st.sampled_from(["s1", "walreceiver", "a", ""])
ANY = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.lists(st.integers(), max_size=2)
)


@given(st.text(max_size=40))
def test_any_text_is_a_position_or_malformed(text):
    with contextlib.suppress(Malformed):
        position = lsn(text)
        assert 0 <= position < 1 << 64
        assert lsn(shown(position)) == position


@given(st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1))
def test_one_of_two_differences_is_zero(one, other):
    assert min(gap(one, other), gap(other, one)) == 0
    assert max(gap(one, other), gap(other, one)) == abs(one - other)


RECEIVERS = st.fixed_dictionaries(
    {
        "status": st.sampled_from([None, "streaming", "waiting", "stopping"]),
        "heard": SECONDS,
        "started": SECONDS,
        "slot_name": NAMES,
        "sender_host": st.sampled_from([None, "127.0.0.1", "/run", "::1"]),
        "sender_port": st.none() | st.integers(0, 65535),
        "written_lsn": POSITIONS,
        "flushed_lsn": POSITIONS,
        "latest_end_lsn": POSITIONS,
    }
)
SIDES = st.fixed_dictionaries(
    {
        "standby": st.booleans(),
        "system": st.sampled_from([None, "1", "2"]),
        "now": SECONDS,
        "written": POSITIONS,
        "received": POSITIONS,
        "replayed": POSITIONS,
        "paused": st.none() | st.booleans(),
        "last_commit": SECONDS,
        "conflicts": st.none() | st.integers(0, 1 << 40),
        "archive": st.none() | st.booleans(),
        "follows": st.none() | st.booleans(),
        "host": st.sampled_from([None, "127.0.0.1", "db"]),
        "port": st.none() | st.just("5432"),
        "settings": st.none()
        | st.dictionaries(
            st.sampled_from(["primary_slot_name", "recovery_min_apply_delay", "wal_sender_timeout", "cluster_name"]),
            st.sampled_from(["", "s1", "0", "60000", "x", "-1"]),
        ),
        "receiver": st.none() | RECEIVERS,
        "applier": st.none()
        | st.fixed_dictionaries({"type": NAMES, "event": NAMES, "blocker": st.none() | st.just({"pid": 7})}),
    }
)
SENDERS = st.fixed_dictionaries(
    {
        "pid": st.integers(1, 3),
        "application": NAMES,
        "address": st.sampled_from([None, "127.0.0.1"]),
        "state": st.sampled_from([None, "streaming", "catchup", "startup"]),
        "written": POSITIONS,
        "sent": POSITIONS,
        "write": POSITIONS,
        "flush": POSITIONS,
        "replay": POSITIONS,
        "replay_lag": SECONDS,
        "heard": SECONDS,
        "slot": NAMES,
    }
)
SLOTS = st.fixed_dictionaries(
    {
        "slot": st.sampled_from(["s1", "s2"]),
        "type": st.sampled_from(["physical", "logical"]),
        "active": st.none() | st.booleans(),
        "written": POSITIONS,
        "restart": POSITIONS,
        "status": st.sampled_from([None, "reserved", "lost"]),
        "safe": st.none() | st.integers(-5, 1 << 40),
    }
)
LOOKS = st.fixed_dictionaries(
    {
        "replication": st.lists(SIDES, min_size=1, max_size=1),
        "replicas": st.lists(SENDERS, max_size=3),
        "slots": st.lists(SLOTS, max_size=2),
    }
)


@given(st.lists(st.tuples(st.none() | LOOKS, LOOKS), min_size=1, max_size=3))
def test_whatever_servers_tell_each_replica_is_there_once_and_no_number_is_negative(told):
    servers = [
        Server(
            f"127.0.0.1:{5432 + number}",
            None if first is None else look(1.0, Said(first, {})),
            look(3.0, Said(last, {})),
            shlex.quote,
        )
        for number, (first, last) in enumerate(told)
    ]
    found = list(lags(servers))
    asked = [server.name for server in servers if server.side.standby]
    assert [lag.replica for lag in found][: len(asked)] == asked
    for lag in found:
        for value in (lag.seconds, lag.bytes, lag.as_of, lag.silence, *(stage.bytes for stage in lag.stages)):
            assert known(value) is None or known(value) >= 0
        assert lag.link != "down" or lag.seconds != 0
        assert lag.confidence != "blind" or lag.told_by != "replica" or isinstance(lag.bytes, Unknown)
    assert len(list(slots(servers, {}))) == sum(len(server.last.slots) for server in servers)


@given(st.dictionaries(st.sampled_from(["standby", "system", "written", "receiver", "settings"]), ANY))
def test_any_row_is_a_look_or_malformed(row):
    with contextlib.suppress(Malformed):
        look(0.0, Said({"replication": [row], "replicas": [row], "slots": [row]}, {}))
