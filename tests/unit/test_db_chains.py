"""Lock chains: the root first, each session once, and whatever a server tells becomes a tree."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from opsdoc.looks.db_chains import Session, Wait, chains


def drawn(chain):
    return [(one.session, one.depth) for one in chain.sessions]


def test_a_chain_of_four_begins_with_who_waits_for_nobody():
    """As PostgreSQL told it: a SELECT behind an ALTER behind an UPDATE behind who sits in a transaction."""
    [chain] = chains(
        [Wait(14977, (14973,)), Wait(14973, (14969, 14965)), Wait(14969, (14965,))],
        [
            Session(14977, wants="AccessShareLock", waits=1.0),
            Session(14973, wants="AccessExclusiveLock", waits=2.0, amplifier=True, object="orders"),
            Session(14969, wants="ShareLock", waits=3.0, object="a row of orders"),
            Session(14965, "app", "worker", "idle in transaction", open=60.0, statement="update orders set x = ?"),
        ],
    )
    assert drawn(chain) == [(14965, 0), (14969, 1), (14973, 2), (14977, 3)]
    assert (chain.root.state, chain.waiting, chain.longest) == ("idle in transaction", 3, 3.0)
    assert chain.object == "a row of orders"
    assert [one.session for one in chain.sessions if one.amplifier] == [14973]
    assert chain.sessions[2].blocked_by == (14969, 14965)
    assert (chain.sessions[0].user, chain.sessions[0].open) == ("app", 60.0)


def test_those_that_wait_longest_come_first_below_each():
    [chain] = chains(
        [Wait(2, (1,)), Wait(3, (1,)), Wait(4, (3,)), Wait(5, (1,))],
        [Session(2, waits=1.0), Session(3, waits=9.0), Session(4, waits=8.0), Session(5)],
    )
    assert drawn(chain) == [(1, 0), (3, 1), (4, 2), (2, 1), (5, 1)]


def test_a_prepared_transaction_is_a_root_without_a_session():
    [chain] = chains([Wait(7, (0,))], [Session(0, prepared="order-17", state="prepared", open=600.0)])
    assert drawn(chain) == [(0, 0), (7, 1)]
    assert chain.root.prepared == "order-17"
    [chain] = chains([Wait(7, (0,))], [])
    assert (chain.root.id, chain.root.state) == (0, "prepared")


def test_a_blocker_that_nobody_tells_of_is_a_root_too():
    [chain] = chains([Wait(7, (99,))], [Session(7, waits=2.0)])
    assert drawn(chain) == [(99, 0), (7, 1)]
    assert chain.root.state == "not seen"


def test_a_circle_begins_with_who_is_open_for_longest_and_all_wait():
    sessions = [Session(1, open=1.0), Session(2, open=9.0), Session(3, open=5.0), Session(4, open=99.0)]
    [chain] = chains([Wait(1, (2,)), Wait(2, (3,)), Wait(3, (1,)), Wait(4, (1,))], sessions)
    assert drawn(chain) == [(2, 0), (1, 1), (3, 2), (4, 2)]  # 4 is older and only waits for the circle
    assert chain.waiting == 4


def test_a_circle_below_a_root_hangs_below_it():
    [chain] = chains([Wait(2, (1, 3)), Wait(3, (2,))], [])
    assert drawn(chain) == [(1, 0), (2, 1), (3, 2)]


def test_of_several_roots_the_one_that_holds_up_most_is_the_root_and_then_the_oldest():
    waits = [Wait(10, (1, 2)), Wait(11, (10,)), Wait(12, (3,)), Wait(12, (2,))]
    [chain] = chains(waits, [Session(1, open=500.0), Session(2, open=5.0), Session(3, open=50.0)])
    assert chain.root.id == 2
    assert drawn(chain) == [(2, 0), (10, 1), (11, 2), (12, 1), (1, 0), (3, 0)]
    [chain] = chains([Wait(10, (1, 2))], [Session(1, open=5.0), Session(2, open=500.0)])
    assert drawn(chain) == [(2, 0), (10, 1), (1, 0)]


def test_chains_that_have_nothing_to_do_with_each_other_are_several_the_largest_first():
    found = chains([Wait(2, (1,)), Wait(12, (11,)), Wait(13, (12,))], [])
    assert [chain.root.id for chain in found] == [11, 1]


def test_the_applier_of_replication_is_told_of():
    [chain] = chains([Wait(2, (1,))], [Session(2, applier=True)])
    assert chain.blocks_applier
    [chain] = chains([Wait(2, (1,))], [Session(1, applier=True)])
    assert (chain.blocks_applier, chain.root.applier) == (False, True)


def test_who_waits_for_nobody_or_for_itself_is_no_chain():
    """A parallel worker waits for its leader, which the server tells of under the same number."""
    assert chains([Wait(1, ()), Wait(2, (2, 2))], [Session(1), Session(2)]) == []
    [chain] = chains([Wait(2, (2, 1, 1))], [])
    assert chain.sessions[1].blocked_by == (1,)


def test_a_strong_request_that_does_not_wait_is_no_amplifier():
    [chain] = chains([Wait(2, (1,))], [Session(1, amplifier=True), Session(2, amplifier=True)])
    assert [one.amplifier for one in chain.sessions] == [False, True]


numbers = st.integers(0, 12)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.builds(Wait, numbers, st.lists(numbers, max_size=4).map(tuple)), max_size=20),
    st.lists(st.builds(Session, numbers, waits=st.none() | st.floats(0, 9), open=st.none() | st.floats(0, 9))),
)
def test_whatever_is_told_each_session_stands_once_below_one_that_it_waits_for(waits, sessions):
    found = chains(waits, sessions)
    waiting = {wait.session for wait in waits if set(wait.blockers) - {wait.session}}
    told = [one.session for chain in found for one in chain.sessions]
    assert len(told) == len(set(told))
    assert set(told) >= waiting
    assert sum(chain.waiting for chain in found) == len(waiting)
    for chain in found:
        way = []
        assert chain.sessions[0][:2] == (chain.root.id, 0)
        for one in chain.sessions:
            assert one.depth <= len(way)
            del way[one.depth :]
            assert not way or way[-1] in one.blocked_by
            way.append(one.session)


def test_thousands_of_sessions_are_a_matter_of_an_instant():
    waits = [Wait(number, (number - 1,)) for number in range(1, 1000)]
    waits += [Wait(5000 + number, tuple(range(2000, 2100))) for number in range(1000)]
    assert sorted(chain.waiting for chain in chains(waits, [])) == [999, 1000]
