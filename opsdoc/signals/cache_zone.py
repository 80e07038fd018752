"""A zone of nginx's cache on its disk: beyond its limit, with nobody who removes, on a full disk; and its words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from opsdoc.model import Finding, Severity, known
from opsdoc.signals.amounts import number, percent
from opsdoc.signals.cache_case import Case
from opsdoc.signals.cache_facts import CacheNode
from opsdoc.signals.cache_findings import finding, graded
from opsdoc.signals.cache_words import of_limit, size
from opsdoc.signals.hit_rate_cause import Cause

if TYPE_CHECKING:
    from opsdoc.signals.cache_health import Limits

PRODUCT = "nginx"
FULL = 0.9  # of the size or of the files that it may have: then one of the two is what it is too small in

NEXT_STEPS: Mapping[Cause, str] = {
    "eviction": "raise max_size of its proxy_cache_path, or the size of its keys_zone where that is full; keep what "
    "nobody asks for twice out of it (proxy_cache_min_uses 2)",
    "expired": "let answers live longer (proxy_cache_valid, or the Cache-Control of the upstream), or have them "
    "refreshed meanwhile: proxy_cache_use_stale updating with proxy_cache_background_update on",
    "bypass": "see what proxy_cache_bypass names: a cookie or an authorization that more requests have than need it",
    "penetration": "see why the answers are not kept: Set-Cookie, Cache-Control, Expires or Vary of the upstream, a "
    "status that proxy_cache_valid does not name, proxy_no_cache; and who asks for what does not exist",
    "pattern-shift": "see whether proxy_cache_key is too fine: query strings, cookies or tracking parameters in it; or "
    "who reads what nobody else does: a crawler, a report",
}


def judge_zone(case: Case, node: CacheNode, limits: Limits) -> Iterator[Finding]:
    """What is wrong with the folder of a zone."""
    found = [_no_manager(case, node), _over_size(case, node, limits), _disk(case, node, limits)]
    yield from (one for one in found if one is not None)


def _no_manager(case: Case, node: CacheNode) -> Finding | None:
    if node.manager in (None, "runs", "waits for a disk"):
        return None
    missing = node.manager == "missing"
    return finding(
        "cache.no-manager",
        case,
        Severity.WARNING,
        f"nobody keeps {node.name} to its limit: the cache manager of nginx "
        f"{'is not there' if missing else node.manager}{_held(node)}",
        "see whether nginx runs as a single process (master_process off), which has none"
        if missing
        else "see who stopped it (state T); kill -CONT lets it go on",
    )._replace(confidence="one look at the processes")


def _over_size(case: Case, node: CacheNode, limits: Limits) -> Finding | None:
    share, used, limit = node.memory_share, known(node.memory_used), known(node.memory_limit)
    if node.product != PRODUCT or share is None or used is None or limit is None:
        return None
    found = graded(
        "cache.over-size",
        case,
        limits.over_size,
        "over_size",
        share,
        f"the folder of {node.name} holds {share:.1f} times what it may, {of_limit(used, limit)}{_manager(node)}",
        "look again in ten seconds: the cache manager removes that often; if it stays, see whether it runs and whether "
        "its disk keeps up",
    )
    return found._replace(confidence=coverage(node)) if found is not None else None


def _disk(case: Case, node: CacheNode, limits: Limits) -> Finding | None:
    if not node.disk_size or node.disk_free is None:
        return None
    unlimited = "" if known(node.memory_limit) else ", and it has no max_size"
    return graded(
        "cache.disk",
        case,
        limits.disk,
        "disk",
        1 - node.disk_free / node.disk_size,
        f"the disk of {node.name} has {size(node.disk_free)} of {size(node.disk_size)} left{_held(node)}{unlimited}: "
        "when it is full, no answer is kept any more",
        "see what fills it; give the cache a max_size, and min_free (nginx 1.19.1)",
    )


def _held(node: CacheNode) -> str:
    used = known(node.memory_used)
    return "" if used is None else f", its folder holds {size(used)}"


def _manager(node: CacheNode) -> str:
    return f"; its cache manager {node.manager}" if node.manager not in (None, "missing") else ""


# ── words ────────────────────────────────────────────────────────────────────────────────────────


def too_small(node: CacheNode) -> str:
    """`; 9.8 of 10 MiB used`, or the files where these are what is too many."""
    files, most = known(node.files), node.files_limit
    used, limit = known(node.memory_used), known(node.memory_limit)
    if used is not None and limit and used >= FULL * limit:
        return f"; {of_limit(used, limit)} used"
    return f"; {files:,} files, and its keys_zone has room for about {most:,}" if files is not None and most else ""


def well(node: CacheNode) -> str:
    """`folder 2.3 % of its limit, 54 files, cache manager runs`."""
    share, files = node.memory_share, known(node.files)
    used = known(node.memory_used)
    told = [f"folder {percent(min(1.0, share))} of its limit" if share is not None else ""]
    told += [f"folder {size(used)}, no limit" if share is None and used is not None else ""]
    told += [number(files, "file") if files is not None else ""]
    told += [f"{percent(node.looked_at)} of it looked at" if node.looked_at is not None and node.looked_at < 1 else ""]
    told += [f"cache manager {node.manager}" if node.manager else ""]
    return ", ".join(filter(None, told))


def coverage(node: CacheNode) -> str:
    """How much of the folder the numbers are from."""
    share = node.looked_at
    return "one look at its folder" if share in (None, 1.0) else f"from {percent(share or 0.0)} of its folder"
