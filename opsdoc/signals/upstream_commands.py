"""Commands that show by hand why a server of nginx fails; they read, or connect once, and ask nothing of nginx."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from opsdoc.signals.peers import UpstreamGroup, UpstreamServer
from opsdoc.signals.proxying import ProxyPass


def by_hand(server: UpstreamServer, group: UpstreamGroup, passes: Sequence[ProxyPass]) -> tuple[str, ...]:
    """The commands for its cause, and those that find it in the logs. Names are quoted for a shell."""
    address = server.server
    if address.startswith("unix:"):
        shown = _of_a_socket(server, address.removeprefix("unix:"), passes)
    else:
        shown = _of_an_address(server, passes)
    return tuple(dict.fromkeys((*shown, *_in_logs(server, group))))


def is_file(log: str | None) -> bool:
    """Whether a log is a file, and not `syslog:…`, `stderr` or `memory:…`."""
    return log is not None and log.startswith("/")


def _in_logs(server: UpstreamServer, group: UpstreamGroup) -> Iterator[str]:
    if group.access_log and is_file(group.access_log):
        yield f"tail -n 10000 {shlex.quote(group.access_log)} | grep -F {shlex.quote(server.server)} | tail -n 20"
    if group.error_log and is_file(group.error_log) and not server.cause.startswith("http-"):
        yield f"tail -n 10000 {shlex.quote(group.error_log)} | grep -F {shlex.quote(server.server)} | tail -n 5"


def _of_a_socket(server: UpstreamServer, path: str, passes: Sequence[ProxyPass]) -> Iterator[str]:
    quoted = shlex.quote(path)
    yield f"ls -l {quoted}"
    if server.cause == "not-permitted":
        yield f"namei -l {quoted}"
    elif server.cause == "queue-full":
        yield "ss -lx | awk 'NR == 1 || $3 > 0'"
    elif server.cause != "socket-missing" and _speak_http(passes):
        yield f"curl -sv --max-time 2 -o /dev/null --unix-socket {quoted} http://localhost/"


def _of_an_address(server: UpstreamServer, passes: Sequence[ProxyPass]) -> Iterator[str]:
    address = server.server
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdecimal():
        return
    tls = any(one.tls for one in passes)
    if server.cause == "resolver":
        yield f"getent ahosts {shlex.quote(host)}"
    elif server.cause in ("connect-timeout", "unreachable"):
        if re.fullmatch(r"[0-9.]+|[0-9a-f:.]+:[0-9a-f:.]*", host):  # ip takes no names
            yield f"ip route get {host}"
        yield f"ss -tn state syn-sent dport = :{port}"
        yield f"nc -zv -w 2 {shlex.quote(host)} {port}"
    elif server.cause == "no-local-port":
        yield "ss -s"
        yield f"ss -tan state time-wait dport = :{port} | wc -l"
    elif server.cause == "tls":
        yield f"openssl s_client -connect {shlex.quote(address)} </dev/null"
    elif _speak_http(passes):
        scheme = "https" if tls else "http"
        yield f"curl -sv --max-time 2 -o /dev/null {shlex.quote(f'{scheme}://{address}/')}"
    else:
        yield f"nc -zv -w 2 {shlex.quote(host)} {port}"
    if server.cause == "refused" and re.fullmatch(r"localhost|127\.[0-9.]+|::1", host):
        yield f"ss -ltnp sport = :{port}"


def _speak_http(passes: Sequence[ProxyPass]) -> bool:
    return all(one.module == "proxy" for one in passes)
