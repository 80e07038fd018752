"""Pairs of PostgreSQL servers by the rows that they give: who is who, how far behind, and how sure that is."""

from __future__ import annotations

import pytest

from opsdoc.clients.sql import Said
from opsdoc.looks.postgresql_lag import lags, slots
from opsdoc.looks.postgresql_pairs import Server
from opsdoc.looks.postgresql_sides import look
from opsdoc.model import Malformed, Unknown
from opsdoc.parsers.lsn import shown

MIB = 1 << 20
P, S, T = "10.0.0.1:5432", "10.0.0.2:5432", "10.0.0.3:5432"
END = 64 * MIB
WINDOW = 2.0

SETTINGS = {"wal_sender_timeout": "60000", "wal_receiver_timeout": "60000", "wal_receiver_status_interval": "10"}


def primary(end=END, **more):
    return {"standby": False, "system": "7", "now": 1000.0, "written": shown(end), "settings": SETTINGS, **more}


def standby(received=END, replayed=END, *, settings=(), **more):
    return {
        "standby": True,
        "system": "7",
        "now": 1000.0,
        "received": shown(received),
        "replayed": shown(replayed),
        "paused": False,
        "last_commit": 990.0,
        "conflicts": 0,
        "archive": False,
        "follows": True,
        "host": "10.0.0.1",
        "port": "5432",
        "settings": {**SETTINGS, **dict(settings)},
        "receiver": receiver(received),
        **more,
    }


def receiver(end=END, **more):
    return {
        "pid": 9,
        "status": "streaming",
        "started": 500.0,
        "heard": 0.5,
        "slot_name": "",
        "sender_host": "10.0.0.1",
        "sender_port": 5432,
        "written_lsn": shown(end),
        "flushed_lsn": shown(end),
        "latest_end_lsn": shown(end),
        **more,
    }


def sender(end=END, replay=END, *, sent=None, **more):
    return {
        "pid": 4,
        "application": "walreceiver",
        "address": "10.0.0.2",
        "port": 40000,
        "state": "streaming",
        "sync": "async",
        "written": shown(end),
        "sent": shown(end if sent is None else sent),
        "write": shown(end if sent is None else sent),
        "flush": shown(end if sent is None else sent),
        "replay": shown(replay),
        "heard": 0.5,
        **more,
    }


def slot(name="s1", *, end=END, restart=END, **more):
    known = {"slot": name, "type": "physical", "active": True, "written": shown(end), "status": "reserved"}
    return {**known, "restart": None if restart is None else shown(restart), **more}


def server(name, side, senders=(), slots=(), *, before=None):
    """A server with a window in which nothing moved, or with what it said `before`: a side and its senders."""
    last = look(10 + WINDOW, Said({"replication": [side], "replicas": list(senders), "slots": list(slots)}, {}))
    side_before, senders_before = before or (side, senders)
    first = look(10, Said({"replication": [side_before], "replicas": list(senders_before)}, {}))
    return Server(name, first, last, lambda sql: f"{name}: {sql}")


def one(*servers):
    (found,) = lags(servers)
    return found


# ── who is who ───────────────────────────────────────────────────────────────────────────────────


def test_both_sides_of_a_pair_are_one_replica_with_the_name_that_was_asked():
    lag = one(server(P, primary(), [sender()]), server(S, standby()))
    assert (lag.replica, lag.primary, lag.told_by, lag.confidence, lag.ask) == (S, P, "both", "proven", None)
    assert (lag.seconds, lag.bytes, lag.link, lag.sync) == (0, 0, "streaming", "async")


def test_a_row_is_matched_by_name_or_slot_even_where_the_address_is_another():
    far = {"address": "192.168.7.7"}
    named = standby(settings={"cluster_name": "reports"}, receiver=receiver(sender_host="db-primary"))
    lag = one(server(P, primary(), [sender(application="reports", **far)]), server(S, named))
    assert (lag.replica, lag.told_by) == (S, "both")
    by_slot = standby(receiver=receiver(sender_host="db-primary", slot_name="s1"))
    lag = one(server(P, primary(), [sender(slot="s1", type="physical", **far)], [slot()]), server(S, by_slot))
    assert (lag.replica, lag.told_by, lag.slot_lost) == (S, "both", False)


def test_two_standbys_that_nobody_named_are_told_apart_by_their_address_and_positions():
    rows = [sender(replay=END - MIB, pid=4), sender(pid=5, address="10.0.0.3")]
    late, well = lags([server(P, primary(), rows), server(S, standby(replayed=END - MIB)), server(T, standby())])
    assert (late.replica, late.bytes, well.replica, well.bytes) == (S, MIB, T, 0)
    rows = [sender(pid=4, sync="sync"), sender(pid=5, address="10.0.0.3")]
    other, this = lags([server(P, primary(), rows), server(T, standby()), server(S, standby())])
    assert (this.replica, this.sync, other.sync) == (S, "sync", "async")
    here = [sender(replay=END - MIB, pid=5, address="127.0.0.1"), sender(pid=4, address="127.0.0.1")]
    well, late = lags([server(P, primary(), here), server(T, standby()), server(S, standby(replayed=END - MIB))])
    assert (late.replica, late.bytes, well.replica, well.bytes) == (S, MIB, T, 0)


def test_a_standby_of_another_database_is_no_replica_of_this_one():
    rows = [*lags([server(P, primary(), [sender()]), server(S, standby(system="8"))])]
    assert [(lag.replica, lag.told_by) for lag in rows] == [(S, "replica"), ("10.0.0.2", "primary")]


def test_replicas_that_were_not_asked_have_the_names_that_the_primary_knows():
    rows = [sender(application="reports"), sender(pid=5, slot="s1"), sender(pid=6)]
    names = [lag.replica for lag in lags([server(P, primary(), rows, [slot()])])]
    assert names == ["reports at 10.0.0.2", "s1 at 10.0.0.2", "10.0.0.2"]
    alike = [lag.replica for lag in lags([server(P, primary(), [sender(), sender(pid=5)])])]
    assert alike == ["10.0.0.2 (session 4)", "10.0.0.2 (session 5)"]


def test_a_replica_that_went_away_is_still_there():
    by_slot = one(server(P, primary(), [], [slot(active=False, restart=END - MIB)]))
    assert (by_slot.replica, by_slot.link, by_slot.bytes, by_slot.told_by) == ("s1", "down", MIB, "primary")
    assert isinstance(by_slot.seconds, Unknown)
    in_window = one(server(P, primary(), [], before=(primary(), [sender(application="reports")])))
    assert (in_window.replica, in_window.link) == ("reports at 10.0.0.2", "down")
    again = one(server(P, primary(), [sender(pid=8)], before=(primary(), [sender(pid=4)])))
    assert again.link == "streaming"  # it was connected anew


def test_a_slot_that_was_never_used_is_no_replica():
    one_server = server(P, primary(), [], [slot(active=False, restart=None, status=None)])
    assert not list(lags([one_server]))
    (found,) = slots([one_server], {})
    assert (found.retained, found.status, found.active) == (None, None, False)


# ── how far behind ───────────────────────────────────────────────────────────────────────────────


def test_the_age_of_the_last_commit_is_no_lag_where_nothing_waits():
    lag = one(server(S, standby(last_commit=1.0)))
    assert (lag.seconds, lag.bytes) == (0, 0)


def test_what_is_replayed_since_the_first_look_bounds_the_age_of_the_last_commit():
    """An hour of idling, then a record that is no commit: the age says an hour, the positions say 2 s."""
    early = standby(END - MIB, END - MIB, last_commit=1.0)
    late = standby(END, END - 100, last_commit=1.0)
    lag = one(server(S, late, before=(early, ())))
    assert lag.bytes == 100
    assert lag.seconds == pytest.approx(WINDOW + 0.5)
    assert lag.applied_per_second == pytest.approx((MIB - 100) / WINDOW)


def test_seconds_are_by_the_clock_of_the_primary_where_it_was_asked():
    pair = [server(P, primary(now=1030.0), [sender(replay=END - MIB)]), server(S, standby(replayed=END - MIB))]
    assert one(*pair).seconds == pytest.approx(40)  # the standby's clock is 30 s late


def test_the_further_position_of_the_two_sides_is_the_true_one():
    """A standby tells what it replayed at its next status only, up to 10 s later."""
    lag = one(server(P, primary(), [sender(replay=END - MIB, heard=9.0)]), server(S, standby()))
    assert (lag.bytes, lag.seconds) == (0, 0)


def test_a_delay_by_design_is_subtracted():
    late = {"replayed": END - MIB, "settings": {"recovery_min_apply_delay": "6000"}}
    lag = one(server(S, standby(**late, applier={"type": "Timeout", "event": "RecoveryApplyDelay"})))
    assert (lag.apply, lag.delay, lag.seconds, lag.bytes) == ("delayed", 6, 4, MIB)
    assert one(server(S, standby(**late, last_commit=996.0))).seconds == 0


def test_stages_have_what_is_before_them_and_samples_count_while_it_moves():
    lags_of = {"write_lag": 0.1, "flush_lag": 0.3, "replay_lag": 1.3}
    now = sender(END, END - 3 * MIB, sent=END - MIB, **lags_of)
    moving = sender(END - 8 * MIB, END - 9 * MIB, sent=END - 8 * MIB, **lags_of)
    lag = one(server(P, primary(), [now], before=(primary(END - 8 * MIB), [moving])))
    assert [(stage.name, stage.bytes) for stage in lag.stages] == [
        ("send", MIB),
        ("write", 0),
        ("flush", 0),
        ("replay", 2 * MIB),
    ]
    assert [stage.seconds for stage in lag.stages] == [None, *map(pytest.approx, (0.1, 0.2, 1.0))]
    assert (lag.stage, lag.seconds) == ("replay", 1.3)
    lag = one(server(P, primary(), [now]))
    assert [stage.seconds for stage in lag.stages] == [None] * 4
    assert isinstance(lag.seconds, Unknown)  # replay_lag is of before
    assert lag.confidence == "blind"


def test_the_primary_alone_proves_that_all_is_replayed_and_not_why_something_is_not():
    assert one(server(P, primary(), [sender(heard=9.0)])).confidence == "proven"
    few = one(server(P, primary(), [sender(replay=END - 300, heard=9.0)]))  # it will say so at its next status
    assert (few.confidence, few.bytes, few.as_of, few.ask) == ("one-sided", 300, 9.0, "10.0.0.2")
    assert isinstance(few.apply, Unknown)


def test_in_a_chain_the_end_of_the_log_is_the_primary_s():
    middle = server(S, standby(END - MIB, END - MIB), [sender(END - MIB, END - MIB, address="10.0.0.3")])
    from_s = {"host": "10.0.0.2", "receiver": receiver(END - MIB, sender_host="10.0.0.2")}
    last = server(T, standby(END - MIB, END - MIB, **from_s))
    first = server(P, primary(), [sender(sent=END - MIB, replay=END - MIB)])
    one_below, two_below = lags([first, middle, last])
    assert (one_below.primary, two_below.primary) == (P, S)
    assert (one_below.bytes, two_below.bytes) == (MIB, MIB)
    assert (one_below.stage, two_below.stage) == ("send", "upstream")
    _, two_below = lags([middle, last])  # the primary was not asked: what its receiver heard is the end
    assert (two_below.bytes, two_below.confidence) == (0, "proven")
    cut = server(
        S, standby(END - MIB, END - MIB, receiver=None), middle.last.senders and [sender(END - MIB, END - MIB)]
    )
    _, two_below = lags([cut, last])
    assert isinstance(two_below.bytes, Unknown)
    assert two_below.confidence == "blind"


# ── when this side cannot know ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("heard", "confidence", "seconds"), [(0.5, "proven", 0), (20.0, "likely", 0), (36.0, "blind", None)]
)
def test_a_standby_alone_is_as_sure_as_its_last_message_is_young(heard, confidence, seconds):
    lag = one(server(S, standby(receiver=receiver(heard=heard))))
    assert (lag.confidence, lag.as_of, lag.silence_expected, lag.ask) == (confidence, heard, 35, P)
    assert lag.seconds == seconds if seconds is not None else isinstance(lag.seconds, Unknown)


def test_equal_positions_without_a_receiver_are_no_lag_of_0():
    lag = one(server(S, standby(receiver=None)))
    assert (lag.link, lag.confidence, lag.ask) == ("down", "blind", P)
    assert isinstance(lag.seconds, Unknown)
    assert isinstance(lag.bytes, Unknown)


def test_a_receiver_that_is_about_to_be_refused_is_none():
    """It calls itself streaming, and its start a message, until the primary says that the log is gone."""
    lag = one(server(S, standby(receiver=receiver(started=0.004, heard=0.004))))
    assert (lag.link, lag.confidence) == ("connecting", "blind")
    assert one(server(S, standby(receiver=receiver(started=0.4, heard=0.1)))).link == "streaming"


def test_a_lost_slot_and_less_received_than_replayed():
    lost = slot(active=False, restart=None, status="lost")
    alone = one(server(P, primary(), [], [lost]))
    assert (alone.replica, alone.slot_lost, alone.link) == ("s1", True, "down")
    assert isinstance(alone.bytes, Unknown)
    cut = standby(48 * MIB, 50 * MIB, receiver=None, settings={"primary_slot_name": "s1"})
    lag = one(server(P, primary(), [], [lost]), server(S, cut))
    assert (lag.replica, lag.slot_lost, lag.bytes) == (S, True, 14 * MIB)
    assert all(stage.bytes >= 0 for stage in lag.stages)
    assert isinstance(one(server(S, cut)).bytes, Unknown)


def test_a_slot_that_is_not_there():
    cut = standby(receiver=None, settings={"primary_slot_name": "s9"})
    assert (
        one(server(P, primary(), [], [slot()]), server(S, cut)).link_error
        == f"{P} has no slot s9, which it means to read from"
    )


def test_a_standby_that_has_more_log_than_its_primary_is_not_in_step():
    lag = one(server(P, primary()), server(S, standby(END + 500, END + 500, receiver=None)))
    assert isinstance(lag.bytes, Unknown)
    assert isinstance(lag.seconds, Unknown)
    assert "500 bytes of log that 10.0.0.1:5432 never wrote" in lag.link_error


def test_an_archive_alone():
    lag = one(server(S, standby(receiver=None, archive=True, follows=False, host=None)))
    assert (lag.link, lag.confidence) == ("archive", "blind")
    both = one(server(S, standby(receiver=None, archive=True)))
    assert (both.link, both.link_error) == ("down", "it falls back on its archive (restore_command)")


def test_what_a_role_may_not_see_is_unknown():
    hidden = standby(receiver=dict.fromkeys(receiver()), follows=None, host=None, port=None)
    lag = one(server(S, hidden))
    assert isinstance(lag.bytes, Unknown)
    assert "pg_monitor" in lag.bytes.reason
    assert isinstance(lag.link, Unknown)
    row = {**dict.fromkeys(sender()), "pid": 4, "written": shown(END)}
    lag = one(server(P, primary(), [row]))
    assert isinstance(lag.bytes, Unknown)
    assert isinstance(lag.link, Unknown)


def test_without_a_window_nothing_is_said_to_stand_or_to_move():
    told = server(S, standby())._replace(first=None)
    lag = one(told)
    assert isinstance(lag.link_moved, Unknown)
    assert isinstance(lag.applied_per_second, Unknown)
    assert isinstance(lag.conflicts, Unknown)
    assert lag.seconds == 0


def test_versions_before_13_tell_less():
    old = receiver(heard=0.5)
    for name in ("written_lsn", "flushed_lsn", "sender_host", "sender_port"):
        del old[name]
    old["received_lsn"] = shown(END)
    lag = one(server(S, standby(receiver=old, host=None, port=None)))
    assert (lag.seconds, lag.primary, lag.ask) == (0, None, None)
    lag = one(server(P, primary(), [sender(heard=None)]))
    assert (lag.seconds, lag.confidence) == (0, "proven")
    assert isinstance(lag.as_of, Unknown)
    (found,) = slots([server(P, primary(), [], [slot(status=None)])], {})
    assert isinstance(found.status, Unknown)


def test_conflicts_are_those_of_the_window_and_a_session_that_replay_waits_for_is_named():
    held = {"type": "Lock", "event": "relation", "blocker": {"pid": 77, "user": "bi", "application": "x", "open": 61.2}}
    lag = one(server(S, standby(replayed=END - 5, conflicts=9, applier=held), before=(standby(conflicts=7), ())))
    assert (lag.apply, lag.conflicts, lag.conflicts_total) == ("locked", 2, 9)
    assert lag.blocked_by == "session 77 of bi (x), open for 61 s"


def test_what_is_no_answer_is_malformed():
    for row in ({}, {"standby": 1}, {"standby": True, "received": "x"}, {"standby": True, "now": "x"}):
        with pytest.raises(Malformed):
            look(0.0, Said({"replication": [row]}, {}))
    assert look(0.0, Said({}, {})) is None
