"""What can be seen of RocketMQ through a proxy of 5.x alone: named groups, queue by queue, and their members."""

from __future__ import annotations

from collections.abc import Iterator

from opsdoc.host import Host
from opsdoc.looks import rocketmq_consumers, rocketmq_offsets, rocketmq_report, rocketmq_rows
from opsdoc.looks.rocketmq_cluster import Broker, Proxy
from opsdoc.looks.rocketmq_consumers import Group
from opsdoc.looks.rocketmq_facts import Facts
from opsdoc.looks.rocketmq_offsets import First, Key, Sweep
from opsdoc.looks.rocketmq_rows import Picture
from opsdoc.looks.rocketmq_watch import Wanted
from opsdoc.model import Interrupted, Observation, TimedOut, Total, Unseen, Unsupported, Window
from opsdoc.parsers import rocketmq_names as names
from opsdoc.signals.backlog_facts import Backlog

_BY_NAME_SERVER = "name a name server with --namesrv: it leads to the brokers, which tell of all this"


def look(
    host: Host, proxy: Proxy, wanted: Wanted, window: float, rows: int
) -> Iterator[Observation | Unseen | Total | Window]:
    """The backlogs of named groups. Raises Unsupported where none is named: a proxy does not tell which there are."""
    address = proxy.server.address
    if not wanted.groups:
        raise Unsupported(
            f"{address} is a proxy, or else knows no cluster: it does not tell which groups there are",
            "add --group NAME, or name a name server instead",
        )
    by_group = {group: [Broker("proxy", "", proxy.server)] for group in sorted(wanted.groups)}
    groups, lost = rocketmq_consumers.members(host, by_group, host.now() + rocketmq_consumers.IN_ALL)
    topics = {group: _topics(groups.get(group, Group()), wanted) for group in by_group}
    for group, listed in topics.items():
        if not listed:
            error = lost.get(group)
            detail = f"it has no members to tell its topics{'' if error is None else f': {error.detail}'}"
            yield Unseen(f"group {group}", "unsupported", detail, "add --topic NAME")
    looks: list[Sweep] = []
    sweep, unseen = rocketmq_offsets.sweep_proxy(host, proxy, topics)
    looks.append(sweep)
    try:
        if window > 0 and sweep.places:
            begun = min(sweep.at.values(), default=host.now())
            host.sleep(max(0.0, begun + window - host.now()))
            again, more = rocketmq_offsets.sweep_proxy(host, proxy, topics)
            unseen += [one for one in more if one not in unseen]
            if again.places:
                looks.append(again)
    except (Interrupted, TimedOut) as error:
        unseen.append(error.unseen("the rest of the window"))
    if len(looks) > 1:
        yield Window(seconds=round(max(looks[1].at.values()) - min(looks[0].at.values()), 3))
    picture = Picture(First((), (), ()), looks, Facts({}, {}, {}, {}), groups, lost, {}, None, {}, address)
    backlogs = rocketmq_rows.worst_first(_rows(picture))
    yield from rocketmq_report.shown(backlogs, rows, wanted.groups)
    yield Total(kind="backlog", number=len(backlogs))
    yield from unseen
    for what in ("dead letters", "what waits for its next delivery", "what clients do", "brokers"):
        yield Unseen(what, "unsupported", f"{address} is a proxy, which does not tell of it", _BY_NAME_SERVER)


def _topics(group: Group, wanted: Wanted) -> list[str]:
    if wanted.topics:
        return sorted(wanted.topics)
    return sorted(topic for topic in group.subscriptions if not topic.startswith(names.RETRY))


def _rows(picture: Picture) -> Iterator[Backlog]:
    for group, topic in picture.last.places:
        yield rocketmq_rows.main(Key(group, topic), picture)
