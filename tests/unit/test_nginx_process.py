"""What an nginx tells of itself: titles, options, its binary; and the masters that really run."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from servers import users
from servers.nginx import Nginx, debian_nginx
from servers.programs import Program, state, wait_until

from opsdoc.clients import Live
from opsdoc.clients.nginx import Connections, Masters
from opsdoc.model import Unreachable
from opsdoc.parsers import nginx_process as parser
from opsdoc.parsers.nginx_process import Build, Options, Title, build, configured, options, paths, title
from opsdoc.parsers.sockets import ESTABLISHED, SYN_SENT, TIME_WAIT
from opsdoc.redact import Redactor

DEBIAN = (
    "--with-cc-opt='-g -O2 -ffile-prefix-map=/build/nginx-1.22.1=. --prefix=/no' --with-ld-opt=\"-Wl,-z,now -fPIC\" "
    "--prefix=/usr/share/nginx --conf-path=/etc/nginx/nginx.conf --http-log-path=/var/log/nginx/access.log "
    "--error-log-path=stderr --lock-path=/var/lock/nginx.lock --with-debug"
)
MADE = Build("nginx/1.22.1", "1.22.1", DEBIAN)


def live(seconds: float = 20.0, **fields) -> Live:
    return Live(deadline=time.monotonic() + seconds, redactor=Redactor(), **fields)


# ── titles ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("cmdline", "known"),
    [
        (b"nginx: master process /sbin/nginx -c /a.conf\0", Title("master", words=("/sbin/nginx", "-c", "/a.conf"))),
        (b"nginx: master process nginx\0\0", Title("master", words=("nginx",))),
        (b"nginx: worker process\0\0\0\0\0", Title("worker")),
        (b"nginx: worker process is shutting down\0", Title("worker", shutting_down=True)),
        (b"nginx: cache manager process\0\0", Title("cache manager")),
        (b"nginx: cache loader process\0\0", Title("cache loader")),
        (b"nginx: privileged agent process\0\0", Title("privileged agent")),
        (
            b"angie: master process v1.11.5 PRO #12 [/usr/sbin/angie -c /etc/angie/angie.conf]\0",
            Title("master", words=("/usr/sbin/angie", "-c", "/etc/angie/angie.conf")),
        ),
        (b"angie: single process v1.7.0 #1 [angie -c a.conf]\0", Title("single", words=("angie", "-c", "a.conf"))),
        (b"angie: worker process #1\0", Title("worker")),
        (b"nginx\0-c\0/a.conf\0", None),
        (b"php-fpm: master process (/etc/php-fpm.conf)\0", None),
        (b"", None),
    ],
)  # fmt: skip
def test_titles(cmdline, known):
    assert title(cmdline) == known


def test_a_title_that_may_have_been_cut():
    """Measured: started with an empty environment, the title ends where the arguments did, here within the path."""
    cut = b"nginx: master process /usr/sbin/nginx -p /tmp/dial -c nginx.con\0\0"
    stat = b"7 (nginx) S " + b"1 " * 44 + b"140735514009511 140735514009576 140735514009576 140735514009576 0"
    assert parser.was_cut(cut, stat)
    assert not parser.was_cut(cut, stat.replace(b"009576 0", b"009976 0"))
    assert not parser.was_cut(cut, b"7 (nginx) S " + b"0 " * 48), "who may not see the addresses sees zeros"
    assert not parser.was_cut(cut, b"")
    words = title(cut).words
    given = options(words[1:], cut=True)
    assert given == Options(prefix="/tmp/dial")
    assert paths(given, MADE, cut=True) == parser.Paths("/tmp/dial/", None, None, None)


@pytest.mark.parametrize(
    ("words", "known"),
    [
        ("-c /etc/nginx/a.conf", Options(conf="/etc/nginx/a.conf")),
        ("-c/etc/a.conf -p/srv", Options(conf="/etc/a.conf", prefix="/srv")),
        ("-c /srv/my site/a.conf -e stderr", Options(conf="/srv/my site/a.conf", error_log="stderr")),
        ("-g daemon off; user x; -c /a.conf", Options(conf="/a.conf", directives="daemon off; user x;")),
        ("-g env A=-c; -c /a.conf", Options(conf="/a.conf", directives="env A=-c;")),
        ("-g error_log -c /no; -q", Options(directives="error_log -c /no;")),
        ("-c a.conf -p . -s reload", Options(conf="a.conf", prefix=".", once=True)),
        ("-t", Options(once=True)),
        ("-qT", Options(once=True)),
        ("-q", Options()),
        ("-c", Options()),
        ("", Options()),
        ("-x -c /a.conf", Options(conf="/a.conf")),
    ],
)
def test_options(words, known):
    assert options(words.split()) == known


@pytest.mark.parametrize(
    ("given", "cwd", "conf", "prefix", "error_log"),
    [
        (Options(), None, "/etc/nginx/nginx.conf", "/usr/share/nginx/", "stderr"),
        (Options(conf="a.conf"), None, "/usr/share/nginx/a.conf", "/usr/share/nginx/", "stderr"),
        (Options(conf="a.conf", prefix="/srv/x/"), None, "/srv/x/a.conf", "/srv/x/", "stderr"),
        (Options(conf="/a.conf", prefix="."), "/root", "/a.conf", "/root/./", "stderr"),
        (Options(conf="a.conf", prefix="."), None, None, None, "stderr"),
        (
            Options(error_log="boot.log"),
            None,
            "/etc/nginx/nginx.conf",
            "/usr/share/nginx/",
            "/usr/share/nginx/boot.log",
        ),
    ],
)
def test_paths_by_the_rules_of_nginx(given, cwd, conf, prefix, error_log):
    assert paths(given, MADE, cwd) == parser.Paths(prefix, conf, error_log, "/var/log/nginx/access.log")


def test_paths_that_configure_puts_where_it_was_told_no_place():
    made = Build("openresty/1.21.4.1", "1.21.4", "--prefix=/usr/local/openresty/nginx")
    assert paths(Options(), made).conf == "/usr/local/openresty/nginx/conf/nginx.conf"
    assert paths(Options(), made).error_log == "/usr/local/openresty/nginx/logs/error.log"
    assert paths(Options(), Build()).conf is None
    assert paths(Options(conf="/a.conf"), Build()).conf == "/a.conf"


# ── the binary ───────────────────────────────────────────────────────────────────────────────────


def binary(*texts: bytes) -> list[bytes]:
    return [b"\x7fELF\0" + b"\0".join(texts) + b"\0\0"]


@pytest.mark.parametrize(
    ("texts", "version", "core"),
    [
        ((b"nginx version: nginx/1.22.1\n",), "nginx/1.22.1", "1.22.1"),
        ((b"nginx version: nginx/1.25.1 (nginx-plus-r30-p1)\n",), "nginx/1.25.1 (nginx-plus-r30-p1)", "1.25.1"),
        ((b"nginx version: openresty/1.21.4.1\n",), "openresty/1.21.4.1", "1.21.4"),
        ((b"Angie version: Angie/1.11.0\n", b"nginx version: nginx/1.29.3\n"), "Angie/1.11.0", "1.29.3"),
        ((b"nginx version: nginx/1.29.3\n", b"x", b"Angie version: Angie/1.11.0\n"), "Angie/1.11.0", "1.29.3"),
        ((b"Tengine version: Tengine/3.1.0\nnginx version: nginx/1.24.0\n",), "Tengine/3.1.0", "1.24.0"),
        ((b"nginx version: shop/2.0\n",), "shop/2.0", None),
        ((b"TLS version: none", b"go version: go1.22"), None, None),
        ((), None, None),
    ],
)
def test_versions(texts, version, core):
    made = build(binary(*texts))
    assert (made.version, made.core) == (version, core)
    assert made.is_nginx == (version is not None)


@pytest.mark.parametrize("at", range(0, 90, 7))
def test_what_stands_across_two_blocks(at):
    whole = binary(b"nginx version: nginx/1.22.1\n", b"configure arguments: --prefix=/a --with-debug\n")[0]
    made = build(iter([whole[:at], whole[at:], b"x" * 100]))
    assert made == Build("nginx/1.22.1", "1.22.1", "--prefix=/a --with-debug")


def test_no_more_is_read_than_is_needed():
    def blocks():
        yield from binary(b"nginx version: nginx/1.22.1\n", b"configure arguments: --prefix=/a\n")
        yield b""
        pytest.fail("one block more is enough")

    assert build(blocks()).version == "nginx/1.22.1"


def test_configure_arguments():
    assert configured(DEBIAN, "prefix") == "/usr/share/nginx"
    assert configured(DEBIAN, "error-log-path") == "stderr"
    assert configured(DEBIAN, "with-ld-opt") == "-Wl,-z,now -fPIC"
    assert configured(DEBIAN, "pid-path") is None
    assert configured("--prefix=/a --prefix=/b --conf-path=", "prefix") == "/b"
    assert configured("--conf-path=", "conf-path") is None


# ── sockets ──────────────────────────────────────────────────────────────────────────────────────

# Rows of a real /proc/net/tcp: a listener on 8080, a client of it, and connections of its own.
TABLE = b"""  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0000000000000000 100 0
   1: 0100007F:1F90 0200007F:D431 01 00000000:00000000 00:00000000 00000000    33        0 12 1 0000000000000000 20 4
   2: 0100007F:D432 0A00000A:0050 01 00000000:00000000 00:00000000 00000000    33        0 13 1 0000000000000000 20 4
   3: 0100007F:D433 0A00000A:0050 01 00000000:00000000 00:00000000 00000000    33        0 14 1 0000000000000000 20 4
   4: 0100007F:D434 0A00000A:0050 06 00000000:00000000 03:00001234 00000000     0        0 0 3 0000000000000000
   5: 0100007F:D435 0B00000A:0050 02 00000001:00000000 01:00000064 00000001    33        0 15 2 0000000000000000 200 0
"""


def test_connections_that_came_in_are_no_upstreams():
    from opsdoc.parsers.sockets import parse_tables, survey

    pairs = survey(parse_tables(TABLE).rows).pairs
    assert parser.connected(TABLE) == {12, 13, 14, 15}
    assert parser.outgoing(pairs, ESTABLISHED, 9) == {"10.0.0.10:80": 2}
    assert parser.outgoing(pairs, TIME_WAIT, 9) == {"10.0.0.10:80": 1}
    assert parser.outgoing(pairs, SYN_SENT, 9) == {"10.0.0.11:80": 1}
    assert parser.outgoing(pairs, ESTABLISHED, 0) == {}


# ── what runs ────────────────────────────────────────────────────────────────────────────────────

SITE = "server { listen 127.0.0.1:<port>; location / { return 204; } }"


def master_of(nginx: Program, answer: dict | None = None) -> dict:
    found = (answer or Masters().answer(live()))["masters"]
    return next(master for master in found if master["pid"] == nginx.pid)


def test_a_master_and_its_workers(start):
    nginx = start(Nginx, SITE, workers=2)
    answer = Masters().answer(live())
    master = master_of(nginx, answer)
    assert (master["conf"], master["prefix"]) == (str(nginx.conf), "/usr/share/nginx/")
    assert master["error_log"] == str(nginx.folder / "boot.log")
    assert master["directives"] == "daemon off;"
    said = subprocess.run([debian_nginx(), "-V"], capture_output=True, text=True, check=True, timeout=10).stderr
    assert f"nginx version: {master['version']}\n" in said
    assert f"configure arguments: {master['configure']}\n" in said
    assert (master["exe"], master["replaced"], master["container"]) == (debian_nginx(), False, master["container"])
    assert (master["own_root"], master["own_network"], master["single"], master["unknown"]) == (True, True, False, {})
    assert abs(master["started"] - (time.time() - age(nginx.pid))) < 2
    workers = {worker["pid"]: worker for worker in master["workers"]}
    assert set(workers) == nginx.workers()
    for worker in workers.values():
        assert (worker["role"], worker["shutting_down"]) == ("worker", False)
        assert worker["fds"] > worker["sockets"] > 0
        assert worker["fd_limit"] > 0
        assert worker["connections"] == 0
        assert worker["started"] >= master["started"]
    assert answer["orphans"] == []


def age(pid: int) -> float:
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return uptime - int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]) / 100


def test_workers_that_shut_down_and_their_connections(start):
    nginx = start(Nginx, SITE, workers=1)
    with socket.create_connection(("127.0.0.1", nginx.port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")  # not yet whole: the worker waits for the rest
        old = nginx.workers()

        def connections() -> list[int]:
            return [worker["connections"] for worker in master_of(nginx)["workers"]]

        wait_until(lambda: connections() == [1], "the worker to have the connection")
        nginx.reload()
        workers = master_of(nginx)["workers"]
        assert {worker["pid"] for worker in workers if worker["shutting_down"]} == old
        assert {worker["pid"] for worker in workers if not worker["shutting_down"]} == nginx.workers()
        (leaving,) = (worker for worker in workers if worker["shutting_down"])
        assert leaving["connections"] == 1


def test_whom_it_is_connected_to(start):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            answer = Connections(os.getpid()).answer(live())
            # Both ends are in one network here, and the server's is known by its listener.
            assert answer["established"][f"127.0.0.1:{port}"] == 1
            assert answer["cut"] is False
    with pytest.raises(Unreachable):
        Connections(4_194_305).answer(live())


def test_one_that_works_alone_and_one_whose_title_was_cut(tmp_path):
    conf = tmp_path / "nginx.conf"
    temps = " ".join(f"{kind}_temp_path {tmp_path}/t;" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    conf.write_text(f"daemon off; error_log {tmp_path}/e.log; events {{}} http {{ {temps} }}")
    alone = [debian_nginx(), "-p", ".", "-c", "nginx.conf", "-e", "boot.log",
             "-g", "master_process off; pid alone.pid;"]  # fmt: skip
    cut = [debian_nginx(), "-p", "/", "-e", f"{tmp_path}/boot.log", "-g", f"pid {tmp_path}/cut.pid;",
           "-c", str(conf)[1:]]  # fmt: skip
    with subprocess.Popen(alone, cwd=tmp_path) as one, subprocess.Popen(cut, env={}) as other:
        try:
            wait_until(lambda: (tmp_path / "alone.pid").exists() and (tmp_path / "cut.pid").exists(), "both to run")
            wait_until(lambda: Path(f"/proc/{other.pid}/cmdline").read_bytes().startswith(b"nginx: m"), "its title")
            masters = {master["pid"]: master for master in Masters().answer(live())["masters"]}
        finally:
            one.terminate()
            other.terminate()
    assert masters[one.pid]["single"]
    assert masters[one.pid]["conf"] == f"{tmp_path}/./nginx.conf"
    assert masters[one.pid]["directives"] == "master_process off; pid alone.pid;"
    assert [worker["pid"] for worker in masters[one.pid]["workers"]] == [one.pid]
    assert masters[other.pid]["conf"] is None, "no path that lost its end"
    assert masters[other.pid]["unknown"]["conf"] == "its command line was cut"


def test_a_title_is_no_proof(tmp_path):
    """A process that is called nginx and titled as one; its binary is a shell."""
    shutil.copy(os.path.realpath("/bin/sh"), tmp_path / "nginx")
    with subprocess.Popen(
        ["nginx: master process /usr/sbin/nginx -c /etc/shadow", "-c", "read x"],
        executable=tmp_path / "nginx",
        stdin=subprocess.PIPE,
    ) as impostor:
        try:
            wait_until(lambda: state(impostor.pid) == "S", "the impostor to wait")
            answer = Masters().answer(live())
            assert impostor.pid not in [master["pid"] for master in answer["masters"]]
            assert answer["impostors"] >= 1
        finally:
            impostor.kill()


def test_a_binary_that_was_replaced(start, tmp_path):
    shutil.copy(debian_nginx(), tmp_path / "nginx")
    nginx = start(Nginx, SITE, binary=tmp_path / "nginx")
    os.unlink(tmp_path / "nginx")
    master = master_of(nginx)
    assert (master["exe"], master["replaced"]) == (str(tmp_path / "nginx"), True)
    assert master["version"].startswith("nginx/")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else for a moment")
def test_what_somebody_else_sees(start):
    nginx = start(Nginx, SITE)
    stranger = pwd.getpwnam("daemon").pw_uid  # not nobody: workers let their own user look
    code = (
        "import os,time,json;from opsdoc.clients import Live;from opsdoc.clients.nginx import Masters;"
        "from opsdoc.redact import Redactor;"
        f"os.setgroups([]);os.setgid({stranger});os.setuid({stranger});"
        "print(json.dumps(Masters().answer(Live(time.monotonic()+9,Redactor()))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    answer = json.loads(done.stdout)
    master = master_of(nginx, answer)
    assert (master["conf"], master["version"]) == (str(nginx.conf), master_of(nginx)["version"])
    assert master["own_root"] is (master["container"] is None)
    assert {"own_root", "fds"} <= set(master["unknown"])
    assert answer["hint"].startswith("sudo ")
    for worker in master["workers"]:
        assert (worker["fds"], worker["sockets"], worker["connections"]) == (None, None, None)
        assert worker["fd_limit"] > 0
        assert worker["user"] == users.NOBODY


def test_another_proc(tmp_path):
    (tmp_path / "self").symlink_to("7")
    (tmp_path / "7").mkdir()
    (tmp_path / "7/stat").write_text("7 (nginx) S 1 " + "0 " * 40)
    (tmp_path / "7/cmdline").write_bytes(b"nginx: master process nginx\0")
    answer = Masters().answer(live(proc=tmp_path))
    assert answer == {"masters": [], "orphans": [], "impostors": 0, "hidden": None, "hint": live().as_root()}
