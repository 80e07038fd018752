"""The caches of an nginx: what each zone and each beginning of a URL hit, by the access log, and the zone's folder."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import reduce
from typing import NamedTuple

from opsdoc.host import Host
from opsdoc.looks.nginx_cache_folder import Folder, node, zones_of
from opsdoc.looks.nginx_logs import Period, Sources, counted
from opsdoc.looks.nginx_site import Site
from opsdoc.model import Denied, Observation, ProbeError, Total, Unknown, Unreachable, Unseen, Unsupported, Window
from opsdoc.parsers.cache_tally import HITS, MISSES, STALE, STATUS, CacheTally, Repeats
from opsdoc.parsers.nginx_nouns import AccessLog, CacheZone, Conf
from opsdoc.parsers.nginx_zones import Zones, zone_of
from opsdoc.signals.access_log import AccessLogRead
from opsdoc.signals.amounts import number
from opsdoc.signals.hit_rate_facts import HitRate
from opsdoc.signals.hit_rate_misses import miss_parts

UNREAD = 0.01  # of the lines: so many that are not of the format are told, as `opsdoc nginx` does
REST = "all other URLs"


class Seen(NamedTuple):
    """What the logs of the window told, and what they did not."""

    zones: Mapping[str, CacheTally]  # by the path of the log
    logs: Sequence[AccessLogRead]
    unseen: tuple[Unseen, ...]


def requests(
    host: Host, conf: Conf | None, logs: Sources, when: Period, lines: int, version: tuple[int, ...] | None
) -> Seen:
    """Count the requests of the window by the zone that they met."""
    tallies: dict[str, CacheTally] = {}

    def by(log: AccessLog) -> CacheTally:
        zones = Zones(conf or Conf(), log, log.path)
        return tallies.setdefault(log.path, CacheTally(zones.of))

    read, unseen = counted(host, logs, when, lines, version, by)
    return Seen(tallies, read, (*map(here, unseen), *_silent(read), *_not_understood(read)))


def here(unseen: Unseen) -> Unseen:
    """A blind spot of what `opsdoc nginx` looks at, too, with the command of this probe."""
    return unseen._replace(hint=unseen.hint.replace("opsdoc nginx ", "opsdoc cache nginx "))


def nothing_to_look_at(site: Site) -> ProbeError | None:
    """Why there is neither a configuration nor an access log, if that is so."""
    if site.conf is not None:
        return None
    why = next((here(one) for one in site.unseen), None)
    if why is None:
        return Unreachable("no nginx runs here", "opsdoc cache nginx --conf FILE --log FILE")
    return (Denied if why.reason == "denied" else Unreachable)(f"{why.subject}: {why.detail}", why.hint)


def none_configured(site: Site) -> Unsupported | None:
    """That this nginx keeps no answers at all, if that is so."""
    if site.conf is None or zones_of(site):
        return None
    hint = "a cache needs proxy_cache_path in http, and proxy_cache where requests are passed on"
    return Unsupported(f"this nginx has no cache: no proxy_cache_path in {site.path} and what it includes", hint)


def items(
    host: Host, site: Site, seen: Seen, held: Mapping[str, Folder | ProbeError], when: Period, rows: int
) -> Iterator[Observation | Unseen | Total | Window]:
    """The hit rate of each zone with its worst beginnings of URLs, and the folders of the zones."""
    yield from seen.unseen
    seconds = _window(seen, when)
    yield Window(seconds)
    zones = {zone.name: zone for zone in zones_of(site)}
    found = []
    for name in _names(site, seen):
        folder = held.get(name)
        found.append(_rates(name, seen, folder if isinstance(folder, Folder) else None, zones.get(name), seconds))
    found.sort(key=lambda pair: -_number(pair[0].misses))
    for rate, parts in found:
        yield rate.replaced(by_hand=_by_hand(seen))
        yield from (_masked(part, host.redactor.text) for part in _shown(parts, rows, rate.node, seconds))
    yield Total("hit_rate", len(found) + sum(len(parts) for _, parts in found))
    yield from (node(zones[name], folder, site) for name, folder in held.items())


def _names(site: Site, seen: Seen) -> list[str]:
    """The zones that are used, and what else requests met."""
    used = [zone for one in (site.conf or Conf()).passes if (zone := zone_of(one)) is not None]
    met = [name for tally in seen.zones.values() for name in tally.zones]
    return list(dict.fromkeys([*used, *met])) or [log.subject for log in seen.logs]


# ── the hit rates ────────────────────────────────────────────────────────────────────────────────


def _rates(
    name: str, seen: Seen, folder: Folder | None, zone: CacheZone | None, seconds: float
) -> tuple[HitRate, list[HitRate]]:
    """The hit rate of a zone, and those of the beginnings of its URLs, the most misses first."""
    met = [tally.zones[name] for tally in seen.zones.values() if name in tally.zones]
    statuses: Counter[str] = Counter()
    prefixes: dict[str, Counter[str]] = {}
    for one in met:
        statuses.update(one.statuses)
        for prefix, counts in one.prefixes.items():
            prefixes.setdefault(prefix, Counter()).update(counts)
    untold = _untold(seen)
    if untold is not None and not statuses:
        return HitRate(subject=name, node=name, product="nginx", ratio=untold, hits=untold, misses=untold), []
    rate = _rate(name, name, statuses, seconds)
    rate = _with_fills(rate, reduce(Repeats.plus, (one.repeats for one in met), Repeats()), folder, zone)
    parts = [_rate(f"{name} {prefix}", prefix, counts, seconds, name) for prefix, counts in prefixes.items()]
    parts.sort(key=lambda part: (-_number(part.misses), -_number(part.hits), part.subject))
    return rate.replaced(misses_by_cause=miss_parts(rate)), parts


def _rate(subject: str, node: str, statuses: Mapping[str, int], seconds: float, part_of: str | None = None) -> HitRate:
    hits = sum(statuses.get(status, 0) for status in HITS)
    misses = sum(statuses.get(status, 0) for status in MISSES)
    total = hits + misses
    return HitRate(
        subject=subject,
        node=node,
        product="nginx",
        part_of=part_of,
        hits=hits,
        misses=misses,
        ratio=hits / total if total else None,
        window_seconds=seconds,
        reads_per_second=total / seconds if seconds else None,
        expired=statuses.get("EXPIRED", 0),
        bypassed=statuses.get("BYPASS", 0),
        stale=sum(statuses.get(status, 0) for status in STALE),
    )


def _with_fills(rate: HitRate, repeats: Repeats, folder: Folder | None, zone: CacheZone | None) -> HitRate:
    """The same with how many misses were followed by a fill, and how many answers were evicted, at least.

    nginx counts neither. A fill is a file that was written in the window, one for each URL that was missed; where the
    folder is not seen, a URL that was missed only once although it was asked for again. Where a zone is at its limit,
    each file that is written puts another out, and what is missed again had been put out.
    """
    told = folder if folder is not None and isinstance(folder.written, int) else None
    missed = repeats.missed + _number(rate.expired)
    filled: float | Unknown | None = None
    if told is not None and repeats.whole and missed:
        filled = min(1.0, _number(told.written) / missed)
    elif repeats.followed:
        filled = 1 - repeats.again / repeats.followed
    evicted = 0 if told is not None else None
    if told is not None and folder is not None and folder.is_full(zone):
        stored = _number(rate.misses) - _number(rate.bypassed)
        gone = max(0, stored - _number(told.files)) if told.all_new else 0
        evicted = min(stored, max(repeats.again, _number(told.written), gone))
    return rate.replaced(
        fill_ratio=filled,
        missed_again=repeats.again,
        sets=None if told is None else told.written,
        keys=None if told is None else told.files,
        evicted=evicted,
    )


def _number(value: int | Unknown | None) -> int:
    return value if isinstance(value, int) else 0


def _shown(parts: Sequence[HitRate], rows: int, name: str, seconds: float) -> Iterator[HitRate]:
    """The first of them, and the others as one."""
    shown = parts if not rows or len(parts) <= rows + 1 else parts[:rows]
    yield from shown
    rest = parts[len(shown) :]
    if rest:
        summed: Counter[str] = Counter()
        for part in rest:
            stale, expired, bypassed = (_number(n) for n in (part.stale, part.expired, part.bypassed))
            summed.update(HIT=_number(part.hits) - stale, STALE=stale, EXPIRED=expired, BYPASS=bypassed)
            summed.update(MISS=_number(part.misses) - expired - bypassed)
        yield _rate(f"{name} {REST}", REST, summed, seconds, name)


def _masked(part: HitRate, mask: Callable[[str], str]) -> HitRate:
    return part.replaced(subject=mask(part.subject), node=mask(part.node))


def _window(seen: Seen, when: Period) -> float:
    """The seconds that were read: less than was wanted where a log had more lines than are read."""
    begins = [datetime.fromisoformat(log.first).timestamp() for log in seen.logs if log.capped and log.first]
    return round(when.until - max(when.since, *begins), 3) if begins else round(when.until - when.since, 3)


# ── what the logs do not tell ────────────────────────────────────────────────────────────────────


def _untold(seen: Seen) -> Unknown | None:
    """Why nothing is known of any zone, or None."""
    if any(STATUS not in log.missing and log.rows for log in seen.logs):
        return None
    silent = [log for log in seen.logs if STATUS in log.missing]
    if silent:
        return Unknown(f"format {silent[0].format} of {silent[0].subject} lacks ${STATUS}")
    foreign = next((log for log in seen.logs if log.unread), None)
    if foreign is not None:
        return Unknown(f"{foreign.subject} is not written in the format {foreign.format}")
    return None if seen.logs else Unknown(next((one.detail for one in seen.unseen), "there is no access log"))


def _silent(logs: Sequence[AccessLogRead]) -> Iterator[Unseen]:
    """Logs that do not say what the cache did, with the line that makes them."""
    for log in logs:
        if STATUS not in log.missing or log.log_format is None:
            continue
        name = log.log_format.split(maxsplit=2)[1]
        yield Unseen(
            log.subject,
            "unsupported",
            f"format {log.format} lacks ${STATUS}: its requests are counted nowhere",
            f"add in http: {log.log_format} and use it: access_log {log.subject} {name};",
        )


def _not_understood(logs: Sequence[AccessLogRead]) -> Iterator[Unseen]:
    for log in logs:
        if log.unread_share >= UNREAD:
            hint = f"tail -n 3 {shlex.quote(log.subject)}; --log-format with the text of its log_format"
            what = f"{number(_number(log.unread), 'line')} not of the format {log.format}, and left out"
            yield Unseen(log.subject, "malformed", what, hint)
        if log.capped:
            since = f", from {log.first} on" if log.first else ""
            detail = f"only the newest {_number(log.rows):,} lines of the window were read{since}"
            yield Unseen(f"the older part of {log.subject}", "unsupported", detail, "--since 1m, or more --lines")


def _by_hand(seen: Seen) -> tuple[str, ...]:
    told = next((log.subject for log in seen.logs if STATUS not in log.missing), None)
    if told is None:
        return ()
    words = "|".join((*HITS, *MISSES[:3]))
    return (f"tail -n 10000 {shlex.quote(told)} | grep -owE '{words}' | sort | uniq -c",)
