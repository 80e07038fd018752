"""`mqadmin consumerProgress`, `consumerStatus` and `brokerStatus` in one look, over the broker's own protocol."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from opsdoc.clients import tcp
from opsdoc.clients.remoting import Server
from opsdoc.clients.rocketmq_account import Account
from opsdoc.host import Host
from opsdoc.looks import rocketmq_proxy, rocketmq_report, rocketmq_watch
from opsdoc.looks.rocketmq_cluster import Proxy, addresses, find
from opsdoc.model import Malformed, Observation, Total, Unseen, UsageError, Window
from opsdoc.options import Duration, Opt, Rows, TlsCa, WindowLength
from opsdoc.probes import probe
from opsdoc.signals import backlog, backlog_cause, broker_health, consumers
from opsdoc.signals.backlog_facts import Backlog
from opsdoc.signals.broker_health import BrokerHealth
from opsdoc.signals.consumer_facts import Consumer
from opsdoc.signals.dead_letters import DeadLetter

MOST_PEEKED = 100  # messages of one dead-letter topic

_TOUCHES = (
    (
        "name servers and brokers: asks what mqadmin asks, on connections that are closed at the end; nothing is "
        "consumed, committed, or joined, and no group is made"
    ),
    (
        "clients of groups that are behind: their broker relays a question to at most 10 of each, which answer with "
        "their tables and a thread dump of themselves"
    ),
)


@probe(
    judges=(backlog, consumers, broker_health),
    observes=(Backlog, Consumer, DeadLetter, BrokerHealth),
    precedence=backlog_cause.PRECEDENCE,
    example="opsdoc mq rocketmq --namesrv 10.0.0.1:9876",
    timeout=60.0,
    touches=_TOUCHES,
)
def rocketmq(
    host: Host,
    *,
    namesrv: Annotated[
        list[str], Opt("a name server, several joined with ';', or a proxy of 5.x", metavar="HOST:PORT")
    ],
    group: Annotated[list[str], Opt("look at this consumer group only", metavar="NAME")] = [],  # noqa: B006 - never changed
    topic: Annotated[list[str], Opt("look at this topic only", metavar="NAME")] = [],  # noqa: B006 - never changed
    peek: Annotated[int, Opt("look at so many of the last dead letters of each group", metavar="N")] = 0,
    tls: Annotated[bool, Opt("speak TLS", group="How to get in")] = False,
    tls_ca: TlsCa = None,
    user: Annotated[str | None, Opt("the access key", "ACCESSKEY", group="How to get in")] = None,
    password_env: Annotated[str | None, Opt("the variable with the secret key", "NAME", group="How to get in")] = None,
    password_file: Annotated[Path | None, Opt("the file with the secret key", "FILE", group="How to get in")] = None,
    client_config: Annotated[
        Path | None, Opt("a file with accessKey and secretKey, such as tools.yml", "FILE", group="How to get in")
    ] = None,
    window: WindowLength = Duration(12),
    rows: Rows = 5,
) -> Iterator[Observation | Unseen | Total | Window]:
    """Find who is behind in RocketMQ, since when, whether it gets worse, which client is stuck, and what died.

    Clients commit every 5 s, so that a window below 10 s tells no rates. All that is wrong is shown, and of what is
    well as many rows as -n says.
    """
    account = Account(user, password_env, password_file, client_config)
    account.check()
    listed = addresses(namesrv)
    if not listed:
        raise UsageError("--namesrv is empty: write HOST:PORT")
    for address in listed:
        try:
            tcp.place(address)
        except Malformed as error:
            raise UsageError(f"bad --namesrv '{address}': {error.hint}") from None
    if peek > MOST_PEEKED:
        raise UsageError(f"bad --peek '{peek}': at most {MOST_PEEKED}")
    servers = [
        Server(address, tls or tls_ca is not None, tls_ca, account if any(account) else None) for address in listed
    ]
    wanted = rocketmq_watch.Wanted(frozenset(group), frozenset(topic), peek)
    cluster = find(host, servers)
    if isinstance(cluster, Proxy):
        yield from rocketmq_proxy.look(host, cluster, wanted, window, rows)
    else:
        seen = rocketmq_watch.watch(host, cluster, wanted, window, ";".join(listed))
        yield from rocketmq_report.items(host, seen, rows)
