"""What was seen of a RocketMQ cluster, as observations: worst first, all that is wrong, and some of what is well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from opsdoc.host import Host
from opsdoc.looks import rocketmq_rows
from opsdoc.looks.rocketmq_cluster import wall
from opsdoc.looks.rocketmq_consumers import Group
from opsdoc.looks.rocketmq_retries import Letter
from opsdoc.looks.rocketmq_watch import Watch, clients
from opsdoc.model import Observation, Total, Unknown, Unseen, Window
from opsdoc.parsers import rocketmq_names as names
from opsdoc.signals.backlog_facts import Backlog
from opsdoc.signals.consumer_facts import HALTED
from opsdoc.signals.dead_letters import DeadLetter

MOST_TROUBLED = 200  # rows: what is wrong with more is said by a number
KEYS = 5  # of dead letters that are alike


def items(host: Host, seen: Watch, rows: int) -> Iterator[Observation | Unseen | Total | Window]:
    """Brokers, backlogs, clients and dead letters."""
    if len(seen.sweeps) > 1:
        first, last = seen.sweeps[0].at, seen.sweeps[-1].at
        common = [last[name] - at for name, at in first.items() if name in last]
        if common:
            yield Window(seconds=round(max(common), 3))
    yield from seen.health
    yield Total(kind="broker", number=len(seen.health))
    backlogs = _backlogs(seen)
    yield from shown(backlogs, rows, seen.wanted.groups)
    yield Total(kind="backlog", number=len(backlogs))
    asked = clients(seen.running)
    for one in sorted(asked, key=lambda one: (one.observed.state not in HALTED, one.observed.subject)):
        yield one.observed
    yield from dead_letters(seen.letters, wall(host, host.now()))
    yield from seen.unseen


def _backlogs(seen: Watch) -> list[Backlog]:
    picture = seen.picture
    keys = [key for key in seen.keys if not key.topic.startswith(names.RETRY)]
    found = [rocketmq_rows.main(key, picture) for key in keys]
    groups = seen.group_names
    retries = picture.last.retries()
    found += [
        one for group in groups if (one := rocketmq_rows.retry(group, retries.get(group, ()), picture)) is not None
    ]
    told = {key.group for key in keys}
    found += [
        rocketmq_rows.nothing(group, picture)
        for group in groups
        if group in seen.wanted.groups and group not in told and seen.groups.get(group, Group()).mode != "broadcast"
    ]
    found += _broadcasts(seen, {group for group in groups if group not in told})
    found += [
        rocketmq_rows.dead(topic, seen.dead, seen.dead_before, seen.dead_window, seen.recent.get(topic))
        for topic in sorted({topic for _, topic, _ in seen.dead})
    ]
    return rocketmq_rows.worst_first(found)


def _broadcasts(seen: Watch, groups: set[str]) -> Iterator[Backlog]:
    """Groups, of those that no broker has offsets of, whose consumers keep their offsets themselves."""
    for group, one in seen.groups.items():
        if one.mode == "broadcast" and group in groups:
            yield rocketmq_rows.nothing(group, seen.picture).replaced(
                depth=Unknown("its consumers keep their offsets themselves (broadcast)"), trend="unknown"
            )


def shown(backlogs: Sequence[Backlog], rows: int, named: frozenset[str] = frozenset()) -> Iterator[Backlog]:
    """All that are wrong, up to MOST_TROUBLED, all that were asked for by name, and `rows` others (0: all)."""
    troubled = well = 0
    for one in backlogs:
        if one.consumer in named:
            yield one
        elif rocketmq_rows.is_troubled(one):
            troubled += 1
            if troubled <= MOST_TROUBLED or not rows:
                yield one
        else:
            well += 1
            if well <= rows or not rows:
                yield one


def dead_letters(letters: Mapping[str, Sequence[Letter]], now: float) -> Iterator[DeadLetter]:
    """Dead letters that were peeked at, together where they came from one topic and were tried as often."""
    for topic, listed in sorted(letters.items()):
        group = topic.removeprefix(names.DEAD_LETTER)
        alike: dict[tuple[str, int], list[Letter]] = {}
        for letter in listed:
            alike.setdefault((letter.origin, letter.retried), []).append(letter)
        for (origin, retried), found in sorted(alike.items(), key=lambda one: -len(one[1])):
            ages = [max(0.0, round(now - letter.stored, 1)) for letter in found if letter.stored > 0]
            keys = dict.fromkeys(letter.key or letter.unique for letter in found)
            example = next((letter.body for letter in found if letter.body), None)
            yield DeadLetter(
                subject=f"{group} from {origin or 'an unknown topic'}",
                consumer=group,
                count=len(found),
                of=len(listed),
                origin=origin or Unknown("the message does not name the topic it came from"),
                reason=Unknown("no broker is told why a message failed: look in the log of the consumer"),
                retried=retried,
                oldest_age=max(ages, default=None),
                newest_age=min(ages, default=None),
                keys=tuple(key for key in keys if key)[:KEYS],
                example=example,
            )
