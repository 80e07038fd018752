"""The faults of a site behind nginx, each as a configuration and the backends that make it real.

`with scene.one_dead().up() as site:` starts both; `site.nginx` and `site.backends` are what stands there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from servers.nginx import Backends, Nginx

RETRY_503 = "proxy_next_upstream error timeout http_503;"
KEPT = 'proxy_http_version 1.1; proxy_set_header Connection "";'


class Site(NamedTuple):
    """What stands there: nginx and its backends."""

    nginx: Nginx
    backends: Backends


class Scene(NamedTuple):
    """What `http {}` says, and the backends that it names."""

    http: str
    backends: Mapping[str, str]

    @contextlib.contextmanager
    def up(self, **options: Any) -> Iterator[Site]:
        """The scene, live; options are those of `Nginx`."""
        with contextlib.ExitStack() as made:
            backends = Backends(self.backends)
            made.callback(backends.stop)
            nginx = Nginx(self.http, backends, **options)
            made.callback(nginx.stop)
            yield Site(nginx, backends)


def site(group: str, location: str = "", server: str = "", *, scheme: str = "http") -> str:
    """A group `app`, and a server whose location / passes to it."""
    passed = f"location / {{ proxy_pass {scheme}://app; {location} }}"
    return f"upstream app {{ {group} }}\nserver {{ listen 127.0.0.1:<port>; {server} {passed} }}"


def pair(first: str, second: str = "ok", location: str = "", group: str = "", **options: str) -> Scene:
    """Two servers, a and b, of these kinds."""
    return Scene(site(f"server <a>; server <b>; {group}", location, **options), {"a": first, "b": second})


def healthy() -> Scene:
    return pair("ok")


# ── servers that fail ────────────────────────────────────────────────────────────────────────────


def one_dead() -> Scene:
    return pair("nolisten")


def single_dead() -> Scene:
    return Scene(site("server <a>;"), {"a": "nolisten"})


def all_dead() -> Scene:
    return pair("nolisten", "nolisten")


def erring() -> Scene:
    """One answers 503 to everything, and nginx does not mind."""
    return pair("err503")


def erring_retried() -> Scene:
    """The same where 503 is listed among the reasons to try the next."""
    return pair("err503", location=RETRY_503)


def slow_sibling(milliseconds: int = 150) -> Scene:
    return pair(f"slow{milliseconds}")


def unreachable() -> Scene:
    return pair("full")


def hanging() -> Scene:
    return pair("hang")


def premature() -> Scene:
    return pair("premature")


def reset() -> Scene:
    return pair("reset")


def big_header() -> Scene:
    return pair("bigheader")


def cut_short() -> Scene:
    """The answer breaks off when the client already has its status."""
    return pair("cut")


def no_protocol() -> Scene:
    """The answer is no HTTP; nginx takes it for HTTP/0.9, passes it on bare, and logs 009 as the client's status."""
    return pair("garbage")


def socket_missing() -> Scene:
    return pair("unix missing", "unix ok")


def socket_refuses() -> Scene:
    return pair("unix nolisten", "unix ok")


def backup_in_use() -> Scene:
    group = "server <a>; server <b> backup; server <c> down;"
    return Scene(site(group), {"a": "nolisten", "b": "ok", "c": "ok"})


def flapping(seconds: float = 1.0, mode: str = "err503") -> Scene:
    """One fails for half of every so many seconds, and is never left out."""
    return Scene(site("server <a> max_fails=0; server <b> max_fails=0;"), {"a": f"flap{seconds:g}/{mode}", "b": "ok"})


def masked(every: int = 5) -> Scene:
    """One closes early on one request in so many; clients see nothing of it."""
    return Scene(site("server <a> max_fails=0; server <b> max_fails=0;"), {"a": f"every{every}/premature", "b": "ok"})


def silent(count: int = 50) -> Scene:
    """So many servers that answer no connection, on addresses of their own."""
    names = [f"s{number}" for number in range(1, count + 1)]
    group = " ".join(f"server <{name}>;" for name in names)
    kinds = {name: f"127.0.1.{number} full" for number, name in enumerate(names, 1)}
    return Scene(site(group, "proxy_next_upstream_tries 2;"), kinds)


def tls(first: str = "tls ok", second: str = "tls ok") -> Scene:
    """TLS to the servers; one of kind ok does not speak it, premature closes in the handshake, hang says nothing."""
    return pair(first, second, scheme="https")


def non_idempotent(*, retried: bool = True) -> Scene:
    """A POST to one that closes early: sent twice, or not."""
    return pair("premature", location="proxy_next_upstream error timeout non_idempotent;" if retried else "")


# ── how load is shared ───────────────────────────────────────────────────────────────────────────


def weighted(first: int = 3, second: int = 1) -> Scene:
    return Scene(site(f"zone app 64k; server <a> weight={first}; server <b> weight={second};"), {"a": "ok", "b": "ok"})


def capped() -> Scene:
    """Equal weights and unequal shares: one is slow and takes one connection at a time."""
    return Scene(site("zone app 64k; server <a> max_conns=1; server <b>;"), {"a": "slow20", "b": "ok"})


def balanced_by(method: str, first: str = "ok") -> Scene:
    """`ip_hash`, `hash $uri consistent`, `least_conn`, `random two` or another method."""
    return Scene(site(f"{method}; zone app 64k; server <a>; server <b>;"), {"a": first, "b": "ok"})


# ── what is not the servers' fault ───────────────────────────────────────────────────────────────


def limited(limit: str = "burst=1 nodelay", more: str = "limit_req_status 429;", rate: str = "2r/s") -> Scene:
    """A limit on requests, in zone `one`."""
    zone = f"limit_req_zone $binary_remote_addr zone=one:1m rate={rate};\n"
    return Scene(zone + site("server <a>;", f"limit_req zone=one {limit}; {more}"), {"a": "ok"})


def limited_dry_run() -> Scene:
    return limited(more="limit_req_dry_run on;")


def limited_connections() -> Scene:
    """A limit of one connection, in zone `few`, in front of a slow server."""
    zone = "limit_conn_zone $binary_remote_addr zone=few:1m;\n"
    return Scene(zone + site("server <a>;", "limit_conn few 1;"), {"a": "slow300"})


def redirected() -> Scene:
    """Errors of one group are answered by another, through an internal redirect."""
    fallback = "upstream spare { server <b>; }\n"
    server = "location @fallback { proxy_pass http://spare; }"
    location = "proxy_intercept_errors on; error_page 503 = @fallback;"
    return Scene(fallback + site("server <a>;", location, server), {"a": "err503", "b": "ok"})


def unresolved() -> Scene:
    """A name in a variable, and nobody to resolve it."""
    location = 'location / { set $backend "nohost.invalid"; proxy_pass http://$backend; }'
    return Scene(f"server {{ listen 127.0.0.1:<port>; {location} }}", {})


def cached() -> Scene:
    zone = "proxy_cache_path <here>/cache keys_zone=pages:1m;\n"
    return Scene(zone + site("server <a>;", "proxy_cache pages; proxy_cache_valid 200 1m;"), {"a": "ok"})


# ── settings ─────────────────────────────────────────────────────────────────────────────────────


def keepalive() -> Scene:
    return Scene(site("server <a>; keepalive 16;", server=KEPT), {"a": "ok"})


def keepalive_dropped() -> Scene:
    """The same undone by a header that a location sets."""
    return Scene(site("server <a>; keepalive 16;", "proxy_set_header Host $host;", KEPT), {"a": "ok"})


def keepalive_unwritten() -> Scene:
    """Nothing about it is written: none before 1.29.7, and 32 since."""
    return Scene(site("server <a>;"), {"a": "ok"})


def keepalive_cut() -> Scene:
    """One closes connections just when nginx uses them again, as where its own timeout is the shorter one."""
    return Scene(site("server <a>; server <b>; keepalive 16;", server=KEPT), {"a": "once", "b": "ok"})


def lingering() -> Scene:
    """A request that does not end keeps a worker for a minute after a reload."""
    return Scene(site("server <a>;", "proxy_read_timeout 60s;"), {"a": "hang"})


def status_page() -> Scene:
    page = "location = /status { stub_status; access_log off; }"
    return Scene(site("server <a>;", server=page), {"a": "ok"})


HOSTILE_AGENT = 'x" 200 9 "-" "y" rt=0.001 ua="6.6.6.6:80" us="502" urt="9.9" \x1b[31m \u202e'
