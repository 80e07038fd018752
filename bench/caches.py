"""What `opsdoc cache redis` costs: time beyond its window, and what it asks of servers, as these count it."""

from __future__ import annotations

import contextlib
import json
import re
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rows import OPSDOC, WINDOW, Cost, Row, cost_of, told
from servers import redis
from servers.redis_client import populate

KEYS = 1_000_000
PATIENCE = 10  # seconds for a command that may wait for ever
_CALL = re.compile(r"calls=(\d+),usec=(\d+)")
_NOT_OURS = "cmdstat_replconf"  # a replica tells its master every second how far it is


def cluster(rounds: int) -> list[Row]:
    """Six nodes, then the same with one of them frozen, beside the check of redis-cli, which asks one after another."""
    rows = []
    with redis.cluster(cluster_node_timeout=15_000) as shop:
        command = ["timeout", str(PATIENCE), "redis-cli", "--cluster", "check", shop.masters[0].address]
        for what, how in (("six nodes", contextlib.nullcontext()), ("one of six frozen", shop.masters[2].frozen())):
            with how:
                runs, other = [], []
                for _ in range(rounds):
                    runs.append(_run(shop.masters[0]))
                    other.append(cost_of(command, (0, 1, 124)).wall)
            ends = f"none within {PATIENCE} s" if statistics.median(other) >= PATIENCE else told(other)
            rows.append(_beyond(f"`opsdoc cache redis`, {what}", runs, f"`redis-cli --cluster check`: {ends}"))
    return rows


def commands(rounds: int) -> list[Row]:
    """What the busiest of six nodes is asked, and one with a million keys, beside what people look at caches with."""
    with redis.cluster() as shop:
        for number, master in enumerate(shop.masters):
            _fill(master, shop.key_of(number))
        asked = [most_asked_of(shop.nodes, lambda: _run(shop.masters[0])) for _ in range(rounds)]
        rows = _asked_rows("the busiest of six nodes", asked, {})
    with with_many_keys() as one:
        runs: list[tuple[float, float]] = []
        asked = [most_asked_of([one], lambda: runs.append(_run(one))) for _ in range(rounds)]
        cli = ["redis-cli", "-p", str(one.port)]
        took: list[Cost] = []
        theirs = {
            "--bigkeys": most_asked_of([one], lambda: took.append(cost_of([*cli, "--bigkeys"]))),
            "--stat": most_asked_of([one], lambda: cost_of(["timeout", str(WINDOW), *cli, "--stat"], (124,))),
        }
        rows += _asked_rows(f"one with {KEYS:,} keys", asked, theirs)
    slow = f"`redis-cli --bigkeys`: {told([cost.wall for cost in took])}"
    return [*rows, _beyond(f"`opsdoc cache redis`, {KEYS:,} keys", runs, slow)]


def _fill(master: redis.Redis, tag: str) -> None:
    """As many keys as are looked at, in a slot that a master of a cluster has."""
    for number in range(100):
        master.do("SET", f"{{{tag}}}:{number}", "v")


def _run(node: redis.Redis) -> tuple[float, float]:
    """What one run takes beyond its window, by its own report and with the start of the command."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.json"
        command = [*OPSDOC, "cache", "redis", "--url", node.url, "--window", f"{WINDOW}s", "-o", str(page), "--json"]
        wall = cost_of(command).wall
        return json.loads(page.read_text())["elapsed_seconds"] - WINDOW, wall - WINDOW


def _beyond(what: str, runs: Sequence[tuple[float, float]], theirs: str) -> Row:
    """Of the run itself; what its start takes is a row of its own, and stands beside."""
    own, all_of_it = [run for run, _ in runs], [wall for _, wall in runs]
    most = statistics.median(own)
    return Row(
        f"{what}: wall beyond its window",
        f"{told(own)}, with the start {told(all_of_it)}",
        theirs,
        "< 300 ms",
        f"{1000 * most:.0f} ms",
        most < 0.3,
    )


def _asked_rows(whom: str, asked: Sequence[Asked], theirs: Mapping[str, Asked]) -> list[Row]:
    """Commands of a server, the most of all rounds, and its time."""
    what = f"what `opsdoc cache redis` asks of {whom}"
    commands, seconds = max(one.commands for one in asked), statistics.median(one.seconds for one in asked)
    counts = "; ".join(f"`redis-cli {name}`: {one.commands:,}" for name, one in theirs.items())
    times = "; ".join(f"`redis-cli {name}`: {1000 * one.seconds:,.1f} ms" for name, one in theirs.items())
    took = f"{1000 * seconds:.1f} ms"
    return [
        Row(f"{what}: commands", f"{commands}", counts, "< 50", f"{commands}", commands < 50),
        Row(f"{what}: its time", told([one.seconds for one in asked]), times, "< 5 ms", took, seconds < 0.005),
    ]


class Asked(NamedTuple):
    """What a server was asked while something ran."""

    commands: int
    seconds: float


def most_asked_of(nodes: Sequence[redis.Redis], run: Callable[[], object]) -> Asked:
    """The most that a run costs any of the servers; the time holds that of one INFO, the one before it."""
    before = [_usage(node) for node in nodes]
    run()
    after = [_usage(node) for node in nodes]
    grown = [
        (now.commands - was.commands - 1, now.seconds - was.seconds) for was, now in zip(before, after, strict=True)
    ]
    return Asked(max(count for count, _ in grown), max(seconds for _, seconds in grown))


def _usage(node: redis.Redis) -> Asked:
    counted = [
        _CALL.match(line) for name, line in node.info().items() if name.startswith("cmdstat_") and name != _NOT_OURS
    ]
    found = [match for match in counted if match is not None]
    return Asked(sum(int(match[1]) for match in found), sum(int(match[2]) for match in found) / 1e6)


@contextlib.contextmanager
def with_many_keys() -> Iterator[redis.Redis]:
    """One server with a million keys."""
    with redis.standalone() as one:
        with contextlib.closing(one.client(60)) as client:
            populate(client, KEYS, size=16)
        yield one
