"""What a server does when it is dialled, told apart on real sockets; and pages of this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from servers import users
from servers.programs import lacking, state, wait_until

from opsdoc.clients import Live, addresses, conversation
from opsdoc.clients.addresses import look_up, name_of, open_inside, socket_address
from opsdoc.clients.dial import MOST_TARGETS, Dial, Resolve, Target
from opsdoc.clients.http import Fetch
from opsdoc.model import Denied, Malformed, TimedOut, Unreachable, Unsupported
from opsdoc.redact import Redactor

FULL = 4  # connections that fill an accept queue of listen(0), and some more


def live(seconds: float = 20.0, **fields) -> Live:
    return Live(deadline=time.monotonic() + seconds, redactor=Redactor(), **fields)


def dial(*targets: Target | str, within: float = 3.0, path: str | None = None, pid: int | None = None) -> list[dict]:
    asked = tuple(Target(target) if isinstance(target, str) else target for target in targets)
    return Dial(asked, within, path, pid).answer(live())


def result(*args, **options) -> str:
    (one,) = dial(*args, **options)
    return one["result"]


@pytest.fixture
def made() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def bound(
    made: contextlib.ExitStack, backlog: int | None = 16, family: int = socket.AF_INET
) -> tuple[socket.socket, str]:
    """A socket on loopback and its address; without a backlog it does not listen."""
    host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    server = made.enter_context(socket.socket(family))
    server.bind((host, 0))
    if backlog is not None:
        server.listen(backlog)
    port = server.getsockname()[1]
    return server, f"[{host}]:{port}" if family == socket.AF_INET6 else f"{host}:{port}"


def fill(made: contextlib.ExitStack, address: tuple | str, family: int = socket.AF_INET) -> None:
    """Fill the accept queue of a socket that nobody accepts from."""
    for _ in range(FULL):
        one = made.enter_context(socket.socket(family))
        one.setblocking(False)
        one.connect_ex(address)


class Served:
    """A server on loopback that does `how` with each connection, and counts them."""

    def __init__(self, made: contextlib.ExitStack, how: Callable[[socket.socket], None]) -> None:
        self.server, self.address = bound(made)
        self.connections = 0
        self.errors: list[OSError] = []
        self._how = how
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        made.callback(self._end)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                connection.settimeout(10)
                try:
                    self._how(connection)
                except OSError as error:
                    self.errors.append(error)

    def _end(self) -> None:
        self.server.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)


def answering(text: bytes) -> Callable[[socket.socket], None]:
    def how(connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            data = connection.recv(4096)
            if not data:
                return
            request += data
        connection.sendall(text)

    return how


# ── TCP ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_server_that_listens_is_left_at_once(made, family):
    try:
        server, address = bound(made, family=family)
    except OSError:
        pytest.skip("no IPv6 on loopback")
    (one,) = dial(address)
    assert (one["address"], one["result"], one["status"], one["detail"]) == (address, "connects", None, "")
    assert 0 < one["connect_seconds"] <= one["seconds"] < 1
    connection, _ = server.accept()
    with connection:
        assert connection.recv(1) == b"", "an orderly end, not a reset"


def test_refused_and_a_queue_that_is_full_and_no_address(made):
    _, closed = bound(made, backlog=None)
    server, full = bound(made, backlog=0)
    fill(made, server.getsockname())
    answers = dial(closed, full, "10.0.0.1", "10.0.0.1:99999", "unix:relative", "[::1:80")
    assert [one["result"] for one in answers] == ["refused", "no answer", *["skipped"] * 4]
    assert 0.9 < answers[1]["seconds"] < 1.6
    assert answers[1]["connect_seconds"] is None
    assert "no connection within 1.00 s" in answers[1]["detail"]


def test_fifty_that_do_not_answer_end_inside_the_deadline(made):
    silent = []
    for _ in range(50):
        server, address = bound(made, backlog=0)
        fill(made, server.getsockname())
        silent.append(address)
    _, alive = bound(made)
    began = time.monotonic()
    answers = dial(*silent, alive, within=1.2)
    took = time.monotonic() - began
    assert took < 1.2 + 4
    assert [one["result"] for one in answers] == ["no answer"] * 50 + ["connects"]


def test_more_than_are_allowed_are_skipped_and_said_to_be(made):
    _, address = bound(made, backlog=128)
    answers = dial(*[address] * (MOST_TARGETS + 3))
    assert [one["result"] for one in answers] == ["connects"] * MOST_TARGETS + ["skipped"] * 3
    assert "64" in answers[-1]["detail"]


def test_a_run_that_is_stopped_does_not_wait(made):
    server, address = bound(made, backlog=0)
    fill(made, server.getsockname())
    asked = live()
    threading.Timer(0.2, asked.stop).start()
    began = time.monotonic()
    (one,) = Dial((Target(address),), 5.0).answer(asked)
    assert time.monotonic() - began < 5
    assert (one["result"], one["detail"]) == ("skipped", "the run was stopped before it could answer")


def test_a_connection_to_itself_is_none(made, monkeypatch):
    """TCP connects to itself where nothing listens and the local port happens to be the one that was dialled."""
    with contextlib.ExitStack() as shortly:
        port = bound(shortly, backlog=None)[0].getsockname()[1]

    class Bound(socket.socket):
        def __init__(self, *args: object) -> None:
            super().__init__(*args)
            self.bind(("127.0.0.1", port))

    monkeypatch.setattr(conversation.socket, "socket", Bound)
    assert result(f"127.0.0.1:{port}") == "refused"


def test_another_machine_is_not_dialled_from_here(tmp_path):
    for question in (Dial((Target("127.0.0.1:1"),), 1.0), Resolve(("localhost",), 1.0), Fetch("127.0.0.1:1", "/")):
        with pytest.raises(Unsupported, match="another machine's"):
            question.answer(live(proc=tmp_path))


def test_keys_hold_no_path_and_tell_tls_and_http_apart():
    plain, tls = Target("10.0.0.1:80"), Target("10.0.0.1:80", tls=True)
    keys = [Dial((plain,), 1.0).key(), Dial((tls,), 1.0).key(), Dial((plain,), 1.0, "/?token=abc").key()]
    keys.append(Dial((plain,), 1.0, pid=7).key())
    assert len(set(keys)) == 4
    assert "abc" not in "".join([*keys, Fetch("127.0.0.1:1", "/s?token=abc").key()])


# ── unix sockets ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("s")


def unix(made: contextlib.ExitStack, path: Path, backlog: int | None = 16, kind: int = socket.SOCK_STREAM) -> str:
    server = made.enter_context(socket.socket(socket.AF_UNIX, kind))
    server.bind(str(path))
    if backlog is not None and kind == socket.SOCK_STREAM:
        server.listen(backlog)
    return f"unix:{path}"


def test_unix_sockets(made, folder):
    full = unix(made, folder / "full.sock", backlog=0)
    fill(made, str(folder / "full.sock"), socket.AF_UNIX)
    (folder / "file").write_text("")
    asked = {
        unix(made, folder / "a.sock"): "connects",
        full: "queue full",
        unix(made, folder / "left.sock", backlog=None): "refused",
        unix(made, folder / "datagram.sock", kind=socket.SOCK_DGRAM): "refused",
        f"unix:{folder}/file": "refused",
        f"unix:{folder}/missing.sock": "socket missing",
        f"unix:{folder}/file/a.sock": "socket missing",
        f"unix:{folder}/{'x' * 200}": "skipped",
    }
    answers = dial(*asked)
    assert [(one["address"], one["result"]) for one in answers] == list(asked.items())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else for a moment")
def test_a_unix_socket_without_permission(made):
    import tempfile

    with tempfile.TemporaryDirectory(prefix="opsdoc-") as name:
        os.chmod(name, 0o755)
        address = unix(made, Path(name) / "a.sock")
        os.chmod(address.removeprefix("unix:"), 0o600)
        import pwd

        nobody = pwd.getpwnam(users.NOBODY).pw_uid
        code = (
            "import os,sys,time;from opsdoc.clients import Live;from opsdoc.clients.dial import Dial,Target;"
            "from opsdoc.redact import Redactor;"
            f"os.setgroups([]);os.setgid({nobody});os.setuid({nobody});"
            f"print(Dial((Target({address!r}),),2.0).answer(Live(time.monotonic()+5,Redactor()))[0]['result'])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
        assert done.stdout.strip() == "not permitted"


def test_a_unix_socket_below_another_root_is_found_as_its_own_processes_find_it(made, folder):
    """The root of a process with another root cannot be had without one: the walk is tried on a folder."""
    (folder / "root/run/app").mkdir(parents=True)
    (folder / "root/var").mkdir()
    (folder / "root/var/run").symlink_to("/run")
    (folder / "root/run/up").symlink_to("../../../../run/app")
    (folder / "root/run/app/proc").symlink_to("/proc/self/root")
    (folder / "root/loop").symlink_to("loop")
    (folder / "root/out").symlink_to(f"{folder}/secret")
    (folder / "secret").write_text("")
    address = unix(made, folder / "root/run/app/a.sock").removeprefix("unix:")
    wanted = os.stat(address).st_ino
    for path in ("/run/app/a.sock", "/var/run/app/a.sock", "/run/up/./a.sock", "/../..//run/app/../app/a.sock"):
        descriptor = open_inside(str(folder / "root"), path)
        assert os.fstat(descriptor).st_ino == wanted, path
        os.close(descriptor)
    for path in ("/out", "/loop", "/run/app/proc/etc", "/run/missing", "/run/app/a.sock/x"):
        with pytest.raises(OSError, match=r"No such file|Too many levels|Not a directory"):
            open_inside(str(folder / "root"), path)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="No such file"):
        open_inside(str(folder / "root"), "/run/missing")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_unix_socket_of_a_process(made, folder):
    address = unix(made, folder / "a.sock")
    assert result(address, pid=os.getpid()) == "connects"
    assert result(f"unix:{folder}/b.sock", pid=os.getpid()) == "socket missing"
    deep = folder / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    os.link(folder / "a.sock", deep / "a.sock")
    assert result(f"unix:{deep}/a.sock", pid=os.getpid()) == "connects", "longer than an address may be"


# ── HTTP ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "word", "status", "detail"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "http 200", 200, "HTTP/1.1 200 OK"),
        (b"HTTP/1.0 503 \r\n\r\n", "http 503", 503, "HTTP/1.0 503"),
        (b"HTTP/1.1 404\r\n\r\n", "http 404", 404, "HTTP/1.1 404"),
        (b"", "closed early", None, "the connection was closed without an answer"),
        (b"220 mail ESMTP\r\n", "not http", None, "it begins with b'220 mail ESMTP\\r\\n'"),
        (b"HTTP/1.1 2", "not http", None, "it begins with b'HTTP/1.1 2'"),
        (b"HTTP/1.1 " + b"x" * 9000, "not http", None, "it begins with b'HTTP/1.1 xxxxxx"),
        (b"\0\0\x12\4\0\0\0\0\0", "not http", None, "it speaks HTTP/2 without TLS, as gRPC servers do"),
        (b"HTTP/1.1 500 password=hunter2\x1b[31m\r\n", "http 500", 500, "HTTP/1.1 500 password=********"),
    ],
)
def test_an_answer_to_a_request(made, text, word, status, detail):
    server = Served(made, answering(text))
    (one,) = dial(server.address, path="/health")
    assert (one["result"], one["status"]) == (word, status)
    assert one["detail"].startswith(detail)
    assert "hunter2" not in one["detail"]
    assert server.connections == 1


def test_the_request_is_a_harmless_one(made):
    seen: list[bytes] = []

    def how(connection: socket.socket) -> None:
        seen.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    server = Served(made, how)
    target = Target(server.address, host="shop.example\r\nX-Evil: 1")
    dial(target, path="/a b\r\nHost: evil\r\n\r\né?x=%20&y=/")
    head, *lines = seen[0].decode("ascii").split("\r\n")
    assert head == "GET /a%20b%0D%0AHost:%20evil%0D%0A%0D%0A%C3%A9?x=%20&y=/ HTTP/1.1"
    assert lines == ["Host: shop.exampleX-Evil:1", f"User-Agent: {conversation.USER_AGENT}", "Accept: */*",
                     "Connection: close", "", ""]  # fmt: skip


def test_a_long_answer_is_left_without_a_reset(made):
    body = b"x" * 40_000
    server = Served(made, answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body))
    assert result(server.address, path="/") == "http 200"
    assert server.errors == []


def test_a_server_that_says_nothing_and_one_that_resets(made):
    gone = threading.Event()
    silent = Served(made, lambda _connection: (gone.wait(20), None)[1])
    made.callback(gone.set)

    def reset(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    answers = dial(silent.address, Served(made, reset).address, path="/", within=0.6)
    assert [one["result"] for one in answers] == ["silent", "reset"]
    assert 0.5 < answers[0]["seconds"] < 1
    assert answers[0]["connect_seconds"] < 0.3


def test_a_process_that_stands_still_connects_but_does_not_answer():
    code = (
        "import socket\ns=socket.create_server(('127.0.0.1',0))\nprint(s.getsockname()[1],flush=True)\n"
        "while True:\n c,_=s.accept();c.recv(9);c.send(b'HTTP/1.0 200 OK\\r\\n\\r\\n');c.close()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = f"127.0.0.1:{int(server.stdout.readline())}"
        try:
            assert result(address, path="/") == "http 200"
            server.send_signal(signal.SIGSTOP)
            wait_until(lambda: state(server.pid) == "T", "the server to stop")
            assert result(address) == "connects"
            assert result(address, path="/", within=0.5) == "silent"
        finally:
            server.kill()


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "k.pem", "-out", "c.pem",
               "-days", "2", "-subj", "/CN=backend.test"]  # fmt: skip
    try:
        subprocess.run(command, cwd=folder, capture_output=True, check=True, timeout=60)
    except FileNotFoundError:
        lacking("openssl is not installed")
    (folder / "both.pem").write_bytes((folder / "k.pem").read_bytes() + (folder / "c.pem").read_bytes())
    return folder / "both.pem"


def speaking_tls(
    certificate: Path, names: list[str | None], text: bytes = b"", **settings
) -> Callable[[socket.socket], None]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda _connection, name, _context: names.append(name)
    for name, value in settings.items():
        setattr(context, name, value)

    def how(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as shaken:
            if text:
                answering(text)(shaken)  # type: ignore[arg-type]
            else:
                assert shaken.recv(1) == b""

    return how


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_handshake_without_verification(made, certificate, version):
    names: list[str | None] = []
    server = Served(made, speaking_tls(certificate, names, maximum_version=version))
    for name in ("shop.example", None):
        (one,) = dial(Target(server.address, tls=True, server_name=name))
        assert (one["result"], one["detail"]) == ("tls ok", "")
        assert 0 < one["connect_seconds"] < one["seconds"]
    assert names == ["shop.example", None]
    wait_until(lambda: server.connections == 2, "both connections")
    assert not [error for error in server.errors if isinstance(error, ConnectionResetError)]


def test_http_over_tls(made, certificate):
    server = Served(made, speaking_tls(certificate, [], b"HTTP/1.1 502 Bad Gateway\r\n\r\n"))
    (one,) = dial(Target(server.address, tls=True), path="/")
    assert (one["result"], one["status"]) == ("http 502", 502)


def test_handshakes_that_fail(made, certificate):
    plain = Served(made, lambda connection: (connection.recv(4096), connection.sendall(b"HTTP/1.1 400 Bad\r\n\r\n"))[1])
    closing = Served(made, lambda connection: (connection.recv(4096), None)[1])
    _, silent = bound(made)
    answers = dial(*[Target(one, tls=True) for one in (plain.address, closing.address, silent)], within=0.8)
    assert [(one["result"], one["detail"]) for one in answers[:2]] == [
        ("tls failed", "it does not speak TLS, or no version that we do"),
        ("tls failed", "the connection was closed during the handshake"),
    ]
    assert answers[2]["result"] == "tls no answer"
    refusing = ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
    context_settings = {"sni_callback": lambda *_: refusing}
    server = Served(made, speaking_tls(certificate, [], **context_settings))
    (one,) = dial(Target(server.address, tls=True, server_name="other.example"))
    assert (one["result"], one["detail"]) == ("tls failed", "it knows no site of that name (SNI)")
    (one,) = dial(Target(server.address, tls=True, server_name=".x"))
    assert one["result"] == "skipped"


# ── names ────────────────────────────────────────────────────────────────────────────────────────


def test_names_are_looked_up_with_this_machines_resolver():
    answer = Resolve(("localhost", "no-such-name.invalid", "x" * 300, "a\0b"), 5.0).answer(live())
    assert "127.0.0.1" in (answer["addresses"]["localhost"] or [])
    assert answer["addresses"]["no-such-name.invalid"] is None
    assert set(answer["errors"]) == {"no-such-name.invalid", "x" * 300, "a\0b"}
    assert all(answer["errors"].values())


def test_a_resolver_that_hangs_is_not_waited_for(monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(addresses.socket, "getaddrinfo", lambda *_args, **_options: (ended.wait(20), [])[1])
    began = time.monotonic()
    found = look_up(["a.example"], began + 0.3, live())
    assert time.monotonic() - began < 5
    assert found == {"a.example": "the resolver did not answer in time"}
    ended.set()


def test_a_name_is_dialled_at_its_first_address(made):
    _, address = bound(made)
    port = address.rpartition(":")[2]
    assert [one["result"] for one in dial(f"localhost:{port}", "no-such-name.invalid:80")] == [
        "connects",
        "name unknown",
    ]


@pytest.mark.parametrize(
    ("address", "name", "known"),
    [
        ("10.0.0.1:80", None, (socket.AF_INET, ("10.0.0.1", 80))),
        ("[::1]:8080", None, (socket.AF_INET6, ("::1", 8080))),
        ("unix:/run/a:b.sock", None, (socket.AF_UNIX, "/run/a:b.sock")),
        ("app.example:80", "app.example", None),
        ("999.1.1.1:80", "999.1.1.1", None),
        ("unix:", None, None),
        ("unix:/a\0b", None, None),
        ("", None, None),
        (":80", None, None),
        ("::1:80", None, None),
    ],
)
def test_addresses(address, name, known):
    assert name_of(address) == name
    assert socket_address(address) == known


# ── pages ────────────────────────────────────────────────────────────────────────────────────────


def test_a_page_of_this_machine(made, folder):
    server = Served(made, answering(b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\nActive"))
    port = server.address.rpartition(":")[2]
    for address in (server.address, f"*:{port}", f"0.0.0.0:{port}"):
        assert Fetch(address, "/s").answer(live()) == b"Active"
    address = unix(made, folder / "a.sock", backlog=None)
    with pytest.raises(Unreachable, match="refused"):
        Fetch(address, "/s").answer(live())


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", Denied, "answers 403 to /s"),
        (b"HTTP/1.1 401 Unauthorized\r\n\r\n", Denied, "401"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", Unreachable, "404"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\n\r\n", Unreachable, "302"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", Unreachable, "middle"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Malformed, "chunks"),
        (b"SSH-2.0-x\r\n", Malformed, "HTTP"),
        (b"", Malformed, "HTTP"),
    ],
)
def test_pages_that_are_none(made, text, error, said):
    server = Served(made, answering(text))
    with pytest.raises(error, match=said):
        Fetch(server.address, "/s?token=abc").answer(live())


def test_a_page_that_comes_too_slowly(made):
    _, address = bound(made)
    with pytest.raises(TimedOut):
        Fetch(address, "/s", within=0.3).answer(live())


@pytest.mark.parametrize("address", ["192.0.2.1:80", "8.8.8.8:80", "app.example:80", "", "[2001:db8::1]:80"])
def test_pages_of_others_are_not_fetched(address):
    with pytest.raises(Unsupported):
        Fetch(address, "/").answer(live())


def test_a_page_over_tls(made, certificate):
    server = Served(made, speaking_tls(certificate, [], b"HTTP/1.1 200 OK\r\n\r\n[]"))
    assert Fetch(server.address, "/", tls=True).answer(live()) == b"[]"
