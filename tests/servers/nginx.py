"""A real nginx with the faults that are wanted: its configuration in a folder of its own, its backends, a fast client.

    backends = Backends({"a": "ok", "b": "err503"})
    nginx = Nginx(site("server <a>; server <b>;"), backends)
    nginx.request("/", 100)
    nginx.rows(), nginx.errors()

`<a>` stands for the address of the backend, `<port>` for the port that nginx listens on, `<here>` for its folder.
"""

from __future__ import annotations

import contextlib
import functools
import grp
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO, NamedTuple

from servers.programs import PY, Program, group_of, lacking, state, wait_until

# The fields that opsdoc asks for, behind those of `combined`.
FIELDS = (
    'rt=$request_time ua="$upstream_addr" us="$upstream_status" urt="$upstream_response_time" '
    'uct="$upstream_connect_time" uht="$upstream_header_time" cs=$upstream_cache_status '
    "lrs=$limit_req_status lcs=$limit_conn_status"
)
COMBINED = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"'
)
_JSON = (
    '{"time":"$time_iso8601","status":"$status","request":"$request","agent":"$http_user_agent",'
    '"request_time":"$request_time","upstream_addr":"$upstream_addr","upstream_status":"$upstream_status",'
    '"upstream_response_time":"$upstream_response_time","upstream_connect_time":"$upstream_connect_time",'
    '"upstream_header_time":"$upstream_header_time","upstream_cache_status":"$upstream_cache_status"}'
)
LOG_FORMATS = {
    "combined": "",
    "opsdoc": f"log_format opsdoc '{COMBINED} ' '{FIELDS}';",
    "json": f"log_format json escape=json '{_JSON}';",
}
_TAIL = re.compile(
    r'" (?P<status>\d{3}) \d+ ".*" rt=(?P<rt>\S+) ua="(?P<ua>[^"]*)" us="(?P<us>[^"]*)" urt="(?P<urt>[^"]*)" '
    r'uct="(?P<uct>[^"]*)" uht="(?P<uht>[^"]*)" cs=(?P<cs>\S+) lrs=(?P<lrs>\S+) lcs=(?P<lcs>\S+)$'
)
_ERROR = re.compile(r"^\S+ \S+ \[(\w+)\] \d+#\d+: (?:\*\d+ )?(.*)$")

_SH = """
"$@" &
printf '{"ready": true, "pid": %d}\\n' $!
while read -r word; do :; done
kill -TERM $!
wait $!
"""


class Row(NamedTuple):
    """A line of the access log, written with the format `opsdoc`: the values as nginx wrote them."""

    status: int
    rt: str
    ua: str
    us: str
    urt: str
    uct: str
    uht: str
    cs: str
    lrs: str
    lcs: str


class Error(NamedTuple):
    """A line of the error log."""

    level: str
    text: str


class Counts(NamedTuple):
    """What a backend has seen so far."""

    connections: int
    requests: int


class Backends(Program):
    """The servers behind nginx, all in one process; each is asked for as its places and its mode: `"unix tls slow100"`.

    Places and modes stand in py/backend.py. `addresses` are as nginx and its logs write them.
    """

    def __init__(self, wanted: Mapping[str, str] = MappingProxyType({})) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="opsdoc-backends-"))
        self.folder.chmod(0o755)
        self.addresses: dict[str, str] = {}
        super().__init__([sys.executable, str(PY / "backend.py"), str(self.folder)], litter=self.folder)
        try:
            self.start(wanted)
        except BaseException:
            self.stop()
            raise

    def start(self, wanted: Mapping[str, str]) -> dict[str, str]:
        """Start more of them, and return their addresses."""
        if any("tls" in how.split() for how in wanted.values()):
            self._certify()
        started = {name: self.say(f"start {name} {how}")["address"] for name, how in wanted.items()}
        self.addresses |= started
        return started

    def mode(self, name: str, mode: str) -> None:
        """Give one another mode; its address stays."""
        self.say(f"mode {name} {mode}")

    def counts(self, name: str) -> Counts:
        """The connections and requests that one has had."""
        said = self.say(f"counts {name}")
        return Counts(said["connections"], said["requests"])

    def _certify(self) -> None:
        if (self.folder / "cert.pem").exists():
            return
        if shutil.which("openssl") is None:
            lacking("openssl is not installed")
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "key.pem"]
        command = ["openssl", "req", "-x509", *key, "-out", "cert.pem", "-days", "2", "-subj", "/CN=backend.test"]
        subprocess.run(command, cwd=self.folder, capture_output=True, timeout=30, check=True)


@functools.cache
def debian_nginx() -> str:
    """The nginx that is installed."""
    found = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    return found or lacking("nginx is not installed (apt-get install nginx)")


class Nginx(Program):
    """A running nginx; `pid` is its master. A shell above it waits for the end of its stdin, so it ends with the tests.

    `level` is that of its error log; None writes none there, as Debian's configuration does, and means `error`.
    `main` and `events` are put at the top level and in `events {}`. `user` starts it as somebody else than root.
    """

    def __init__(
        self,
        body: str,
        backends: Backends | None = None,
        *,
        log: str = "opsdoc",
        level: str | None = "warn",
        main: str = "",
        events: str = "",
        workers: int = 2,
        user: str | None = None,
        binary: str | Path | None = None,
    ) -> None:
        binary = binary or debian_nginx()
        self.folder = Path(tempfile.mkdtemp(prefix="opsdoc-nginx-"))
        self.folder.chmod(0o755)
        if user is not None:
            shutil.chown(self.folder, user, group_of(user))
        self.conf = self.folder / "nginx.conf"
        self.access_log, self.error_log = self.folder / "access.log", self.folder / "error.log"
        self.port = _free_port()
        self.sent = 0
        self._words = {"port": str(self.port), "here": str(self.folder), **(backends.addresses if backends else {})}
        self._how = {"log": log, "level": level or "", "main": main, "events": events, "workers": str(workers)}
        self.rewrite(body)
        command = [str(binary), "-c", str(self.conf), "-e", str(self.folder / "boot.log"), "-g", "daemon off;"]
        super().__init__(["/bin/sh", "-c", _SH, "sh", *command], cwd=self.folder, user=user, litter=self.folder)
        try:
            wait_until(self._answers, f"{self} to listen")
        except BaseException:
            self.stop()
            raise

    def rewrite(self, body: str) -> None:
        """Write another configuration, which nginx reads at the next `reload`."""
        temps = "\n".join(
            f"{kind}_temp_path <here>/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        root = os.geteuid() == 0
        user = f"user nobody {grp.getgrgid(group_of('nobody')).gr_name};" if root else ""
        how = self._how
        text = f"""{user}
worker_processes {how["workers"]};
pid <here>/nginx.pid;
error_log <here>/error.log {how["level"]};
{how["main"]}
events {{ {how["events"]} }}
http {{
{temps}
{LOG_FORMATS[how["log"]]}
access_log <here>/access.log {how["log"]};
proxy_connect_timeout 500ms;
proxy_read_timeout 700ms;
{body}
}}
"""
        self.conf.write_text(re.sub(r"<(\w+)>", lambda word: self._words.get(word[1], word[0]), text))

    def reload(self) -> None:
        """Have the configuration read anew, and return when no worker of before accepts any more."""
        before = self.workers()
        os.kill(self.pid, signal.SIGHUP)
        wait_until(lambda: self.workers() and not self.workers() & before, f"{self} to reload: {self.errors()[-2:]}")
        wait_until(self._answers, f"{self} to listen again")

    def workers(self) -> set[int]:
        """The workers that take connections."""
        return {pid for pid, title in self._children().items() if title == "nginx: worker process"}

    def leaving(self) -> set[int]:
        """The workers that finish what they had when nginx was reloaded."""
        return {pid for pid, title in self._children().items() if title == "nginx: worker process is shutting down"}

    def _children(self) -> dict[int, str]:
        found = {}
        for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                found[int(pid)] = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0 ").decode()
        return found

    def _answers(self) -> bool:
        if state(self.pid) in ("Z", "X"):
            raise AssertionError(f"nginx ended: {(self.folder / 'boot.log').read_text()}{self._said()}")
        with socket.socket() as tried:
            return tried.connect_ex(("127.0.0.1", self.port)) == 0 and len(self.workers()) >= int(self._how["workers"])

    # ── what it is asked, and what it writes ─────────────────────────────────────────────────────────

    def request(
        self,
        path: str | Sequence[str] = "/",
        n: int = 1,
        concurrency: int = 1,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
        method: str = "GET",
        body: bytes = b"",
    ) -> list[int]:
        """Send so many requests, in turn to the paths, over so many connections, and return the statuses in order.

        0 stands for a connection that was closed without an answer, and for an answer that is no HTTP.
        """
        paths = [path] if isinstance(path, str) else path
        lines = {"Host": "site.test", "Content-Length": str(len(body)), **headers}
        if not body and method in ("GET", "HEAD"):
            del lines["Content-Length"]
        rest = "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"
        asked = [f"{method} {each} HTTP/1.1\r\n{rest}".encode() + body for each in paths]
        statuses = [-1] * n

        def ask(first: int) -> None:
            with contextlib.closing(_Caller(self.port, method)) as caller:
                for turn in range(first, n, concurrency):
                    statuses[turn] = caller.ask(asked[turn % len(asked)])

        callers = [threading.Thread(target=ask, args=(first,)) for first in range(min(n, concurrency))]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert -1 not in statuses, "a caller failed"
        self.sent += n
        return statuses

    def log_written(self, n: int | None = None) -> list[str]:
        """The lines of the access log, as soon as there are `n`, or as many as requests were sent."""
        wanted = self.sent if n is None else n
        wait_until(lambda: self.access_log.read_bytes().count(b"\n") >= wanted, f"{wanted} lines in {self.access_log}")
        return self.access_log.read_text(errors="surrogateescape").splitlines()

    def rows(self) -> list[Row]:
        """The access log, once it is written; only of the format `opsdoc`."""
        found = [_TAIL.search(line) for line in self.log_written()]
        assert all(found), self.access_log.read_text()
        return [Row(int(row["status"]), *row.groups()[1:]) for row in found if row is not None]

    def errors(self, level: str = "") -> list[Error]:
        """The error log, or what it has of one level."""
        lines = self.error_log.read_text(errors="surrogateescape").splitlines() if self.error_log.exists() else []
        found = [Error(line[1], line[2]) for line in map(_ERROR.match, lines) if line is not None]
        return [error for error in found if level in ("", error.level)]


class _Caller:
    """A connection to nginx, made anew where it was closed."""

    def __init__(self, port: int, method: str) -> None:
        self._port, self._bodiless = port, method == "HEAD"
        self._stream: IO[bytes] | None = None

    def ask(self, request: bytes) -> int:
        if self._stream is None:
            with socket.create_connection(("127.0.0.1", self._port), timeout=30) as made:
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._stream = made.makefile("rwb", buffering=65536)
        try:
            self._stream.write(request)
            self._stream.flush()
            version, status, *_ = self._stream.readline().split() or (b"", b"")
            if not version.startswith(b"HTTP/"):
                raise ConnectionResetError
            headers = self._headers()
        except ConnectionError:
            self.close()
            return 0
        whole = self._skip(int(status), headers)
        if not whole or headers.get(b"connection") == b"close":
            self.close()
        return int(status)

    def _headers(self) -> dict[bytes, bytes]:
        assert self._stream is not None
        found = {}
        while line := self._stream.readline().strip():
            name, _, value = line.lower().partition(b":")
            found[name] = value.strip()
        return found

    def _skip(self, status: int, headers: Mapping[bytes, bytes]) -> bool:
        """Read the body, and say whether it was all there, so that another answer can follow it."""
        assert self._stream is not None
        if self._bodiless or status in (204, 304):
            return True
        if b"content-length" in headers:
            length = int(headers[b"content-length"])
            return len(self._stream.read(length)) == length
        if headers.get(b"transfer-encoding") != b"chunked":
            self._stream.read()
            return False
        while line := self._stream.readline():
            self._stream.read(int(line, 16) + 2)
            if int(line, 16) == 0:
                return True
        return False

    def close(self) -> None:
        if self._stream is not None:
            with contextlib.suppress(OSError):
                self._stream.close()
        self._stream = None


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]
