"""The folders of nginx's caches: what they hold against what they may, and whether anybody keeps them in order."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

from opsdoc.clients.nginx_cache import WITHIN, CacheFolder
from opsdoc.host import Answer, Host
from opsdoc.looks.nginx_logs import Period
from opsdoc.looks.nginx_site import Site
from opsdoc.model import ProbeError, Unknown
from opsdoc.parsers.nginx_nouns import CacheZone, Conf
from opsdoc.signals.cache_facts import CacheNode

MOST_ZONES = 16  # whose folders are looked at
PER_MIB = 8000  # keys that a MiB of keys_zone holds, by nginx's documentation; 7,400 were measured on 1.22
FULL = 0.9  # of max_size: the cache manager removes down to it, so that it is a little less
FULL_KEYS = 0.75  # of the keys by the documentation: 0.76 to 0.99 were measured on zones of 32 KiB to 1 MiB
INACTIVE = 600.0  # seconds: nginx's default
_STATES = {"T": "stands still", "t": "stands still", "D": "waits for a disk"}


class Folder(NamedTuple):
    """What the folder of a zone holds, as a whole: where only a part was looked at, `share`, that stands for all."""

    bytes: int | Unknown
    files: int | Unknown
    written: int | Unknown  # in the window
    all_new: bool  # nothing in it is older than the window
    share: float | None
    disk_size: int | None = None
    disk_free: int | None = None

    def is_full(self, zone: CacheZone | None) -> bool:
        """Whether it holds as much as it may, or as many files as its keys_zone has room for."""
        if zone is None or isinstance(self.bytes, Unknown) or isinstance(self.files, Unknown):
            return False
        most = most_files(zone)
        by_size = zone.max_size is not None and self.bytes >= FULL * zone.max_size
        return by_size or (most is not None and self.files >= FULL_KEYS * most)


def zones_of(site: Site) -> list[CacheZone]:
    """The zones that are configured."""
    return list({zone.name: zone for zone in (site.conf or Conf()).cache_zones if zone.name}.values())


def most_files(zone: CacheZone) -> int | None:
    """How many files its keys_zone has room for, about."""
    return zone.keys_size * PER_MIB >> 20 if zone.keys_size else None


def folders(host: Host, site: Site, when: Period) -> dict[str, Folder | ProbeError]:
    """What the folders of the zones hold; nothing where the configuration is that of another machine."""
    zones = [] if site.is_dump else zones_of(site)[:MOST_ZONES]
    answers = host.gather([CacheFolder(zone.path, site.root, when.since) for zone in zones], 2 * WITHIN)
    return {
        zone.name: _folder(answer.value) if isinstance(answer, Answer) else answer
        for zone, answer in zip(zones, answers, strict=True)
    }


def _folder(answer: Mapping[str, Any]) -> Folder:
    share = answer["share"]
    untold = Unknown("there are too many files to be looked at in time")

    def whole(name: str) -> int | Unknown:
        return untold if share is None else round(answer[name] / share)

    return Folder(
        whole("bytes"),
        whole("files"),
        whole("written"),
        bool(answer["files"]) and answer["written"] == answer["files"],
        share,
        answer["disk_size"],
        answer["disk_free"],
    )


def node(zone: CacheZone, folder: Folder | ProbeError, site: Site) -> CacheNode:
    """A zone as a node of a cache; what it uses is on the disk."""
    held = None if isinstance(folder, ProbeError) else folder
    untold = Unknown(folder.detail) if isinstance(folder, ProbeError) else None
    return CacheNode(
        subject=zone.name,
        node=zone.name,
        product="nginx",
        version=None if site.master is None else site.master["version"],
        memory_used=untold if held is None else held.bytes,
        memory_limit=zone.max_size,
        policy="lru",
        folder=zone.path,
        files=untold if held is None else held.files,
        files_limit=most_files(zone),
        looked_at=None if held is None else held.share,
        inactive=INACTIVE if zone.inactive is None else zone.inactive,
        manager=_manager(site),
        loader=_process(site, "cache loader") is not None,
        disk_size=None if held is None else held.disk_size,
        disk_free=None if held is None else held.disk_free,
        by_hand=(f"du -sh {shlex.quote(zone.path)}", "ps -C nginx -o pid,stat,etime,args"),
    )


def _manager(site: Site) -> str | None:
    """What its cache manager does: `runs`, `stands still`, `missing`; None where no nginx runs here."""
    if site.master is None:
        return None
    found = _process(site, "cache manager")
    return "missing" if found is None else _STATES.get(found.get("state") or "", "runs")


def _process(site: Site, role: str) -> Mapping[str, Any] | None:
    workers = () if site.master is None else site.master["workers"]
    return next((one for one in workers if one["role"] == role and not one["shutting_down"]), None)
