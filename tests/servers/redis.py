"""Real Redis servers: one, one with a replica, three Sentinels, a cluster of six; on loopback, each in its own folder.

Each runs below a shell that ends it when the test run ends, however that ends. Nothing is saved to disk.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from servers.programs import Program, lacking, state, wait_until
from servers.redis_client import Client, Load, Refused, Step, load

BUS = 10_000  # a node's bus is at its port and so much more
NODE_TIMEOUT = 2000  # milliseconds until a cluster takes a node for dead
DOWN_AFTER = 1500  # the same of a Sentinel
MASTER = "shop"
SLOTS = 16384
SIX = 6  # nodes of a cluster
FORMING = 1000  # milliseconds of the same while it forms: a master waits that long before it says ok

_BELOW_A_SHELL = (
    '"$@" >"$0" 2>&1 & server=$!; printf \'{"ready": true, "pid": %d}\\n\' $server; '
    "while read -r word; do :; done; kill -9 $server; wait"
)


def below_a_shell(argv: Sequence[str], folder: Path) -> Program:
    """A server that keeps running in the foreground, with what it says in `log`; `pid` is its own."""
    return Program(["/bin/sh", "-c", _BELOW_A_SHELL, str(folder / "log"), *argv], cwd=folder)


def refuse_dead(program: Program, folder: Path) -> None:
    """Fail with a server's last words if it has ended."""
    if state(program.pid) in "XZ":
        pytest.fail(f"{program} ended: {(folder / 'log').read_text(errors='replace')[-800:]}", pytrace=False)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at, nor where their buses would be; below those that the kernel hands out."""
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().randrange(11_000, 21_000)
        with contextlib.suppress(OSError), socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + BUS))
            if port not in found:
                found.append(port)
    return found


@functools.cache
def certificates() -> Path:
    """A folder with an authority, and a certificate for localhost that it signed: ca.pem, cert.pem, key.pem."""
    if shutil.which("openssl") is None:
        lacking("openssl is not installed")
    folder = Path(tempfile.mkdtemp(prefix="opsdoc-tls-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o755)  # a server may run as nobody

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=60)

    new = ["-newkey", "rsa:2048", "-nodes", "-days", "2"]
    openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=opsdoc tests")
    openssl("req", *new, "-keyout", "key.pem", "-out", "request", "-subj", "/CN=localhost")
    signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-out", "cert.pem"]
    openssl("x509", "-req", "-in", "request", *signed)
    (folder / "key.pem").chmod(0o644)
    return folder


# ── one server ───────────────────────────────────────────────────────────────────────────────────


class Redis:
    """A running server. Options are those of its command line: `maxmemory="4mb"` is `--maxmemory 4mb`."""

    def __init__(
        self,
        *,
        port: int | None = None,
        mode: str = "plain",  # or `tls`, or `unix`
        sentinel: str | None = None,
        words: Sequence[str] = (),
        **options: object,
    ) -> None:
        if shutil.which("redis-server") is None:
            lacking("redis-server is not installed")
        self.port = free_ports(1)[0] if port is None else port
        self.mode = mode
        self.folder = Path(tempfile.mkdtemp(prefix="opsdoc-redis-"))
        self.socket = self.folder / "redis.sock"
        self._password = options.get("requirepass")
        self._argv = ["redis-server"]
        if sentinel is not None:
            file = self.folder / "sentinel.conf"  # a Sentinel rewrites it
            file.write_text(sentinel)
            self._argv += [str(file), "--sentinel"]
        self._argv += ["--bind", "127.0.0.1", "--protected-mode", "no", "--dir", str(self.folder), *self._where()]
        if sentinel is None:
            self._argv += ["--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"]
        for name, value in options.items():
            self._argv += [f"--{name.replace('_', '-')}", *str(value).split()]
        self._argv += words
        self._program = self._started()

    def _where(self) -> list[str]:
        if self.mode == "tls":
            folder = certificates()
            files = {"cert-file": "cert.pem", "key-file": "key.pem", "ca-cert-file": "ca.pem"}
            named = [word for name, file in files.items() for word in (f"--tls-{name}", str(folder / file))]
            return ["--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no", *named]
        if self.mode == "unix":
            return ["--port", "0", "--unixsocket", str(self.socket)]
        return ["--port", str(self.port)]

    def _started(self) -> Program:
        program = below_a_shell(self._argv, self.folder)
        try:
            wait_until(lambda: self._answers(program), f"{' '.join(self._argv)} to answer", 20)
        except BaseException:
            program.stop()
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        return program

    def _answers(self, program: Program) -> bool:
        refuse_dead(program, self.folder)
        with contextlib.suppress(OSError, Refused), contextlib.closing(self._connected()) as client:
            client.do("PING")
            return True
        return False

    # what it is called

    @property
    def pid(self) -> int:
        return self._program.pid

    @property
    def address(self) -> str:
        return f"unix:{self.socket}" if self.mode == "unix" else f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Without a password."""
        if self.mode == "unix":
            return f"unix://{self.socket}"
        return f"{'rediss' if self.mode == 'tls' else 'redis'}://{self.address}"

    # what is done to it

    def client(self, timeout: float = 10.0) -> Client:
        return self._connected(timeout)

    def _connected(self, timeout: float = 10.0) -> Client:
        context = None
        if self.mode == "tls":
            context = ssl.create_default_context(cafile=certificates() / "ca.pem")
            context.check_hostname = False
            context.load_cert_chain(certificates() / "cert.pem", certificates() / "key.pem")
        client = Client(str(self.socket) if self.mode == "unix" else ("127.0.0.1", self.port), context, timeout)
        if self._password is not None:
            client.do("AUTH", str(self._password))
        return client

    def do(self, *words: str | bytes | int) -> object:
        """The reply to one command, over a connection of its own."""
        with contextlib.closing(self.client()) as client:
            return client.do(*words)

    def info(self) -> dict[str, str]:
        with contextlib.closing(self.client()) as client:
            return client.info()

    def counters(self) -> tuple[int, int]:
        """Hits and misses of the keyspace."""
        info = self.info()
        return int(info["keyspace_hits"]), int(info["keyspace_misses"])

    def load(self, step: Step) -> contextlib.AbstractContextManager[Load]:
        return load(self.client(), step)

    def frozen(self) -> contextlib.AbstractContextManager[Program]:
        """As SIGSTOP leaves it: the kernel still accepts connections."""
        return self._program.stopped()

    def kill(self) -> None:
        """As the kernel would for want of memory; its port is refused from then on."""
        os.kill(self.pid, signal.SIGKILL)
        wait_until(lambda: state(self.pid) in "XZ", f"{self.address} to be gone")

    def restart(self) -> None:
        """The same server once more, empty and young."""
        self.kill()
        self._program.stop()
        self._program = self._started()

    @contextlib.contextmanager
    def monitored(self) -> Iterator[Callable[[], list[bytes]]]:
        """Calling what is yielded gives the commands that others sent since, as MONITOR writes them."""
        with contextlib.closing(self.client()) as watcher, contextlib.closing(self.client()) as marker:
            assert watcher.do("MONITOR") == b"OK"

            def seen() -> list[bytes]:
                mark = f"mark-{time.monotonic_ns()}"
                marker.do("ECHO", mark)
                lines = []
                while mark.encode() not in (line := watcher.line()):
                    lines.append(line)
                return lines

            yield seen

    def stop(self) -> None:
        self._program.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def standalone(**options: object) -> Iterator[Redis]:
    """One server, as `Redis` takes options."""
    server = Redis(**options)
    try:
        yield server
    finally:
        server.stop()


def _made(stack: contextlib.ExitStack, **options: object) -> Redis:
    return stack.enter_context(standalone(**options))


# ── several ──────────────────────────────────────────────────────────────────────────────────────


class Pair(NamedTuple):
    """A master, and the replica that follows it."""

    master: Redis
    replica: Redis


@contextlib.contextmanager
def pair(**options: object) -> Iterator[Pair]:
    """A master and a replica that is in step with it."""
    with contextlib.ExitStack() as stack:
        master = _made(stack, **options)
        replica = _made(stack, replicaof=f"127.0.0.1 {master.port}", **options)
        wait_until(lambda: replica.info()["master_link_status"] == "up", "the replica to follow")
        yield Pair(master, replica)


class Watch(NamedTuple):
    """Three Sentinels that watch a master, called MASTER, and its replica. Two of them are a quorum."""

    master: Redis
    replica: Redis
    sentinels: tuple[Redis, ...]

    def agreed(self) -> str:
        """The address that the first Sentinel gives for the master."""
        host, port = self.sentinels[0].do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)
        return f"{host.decode()}:{port.decode()}"


@contextlib.contextmanager
def sentinels() -> Iterator[Watch]:
    """A master, a replica, and three Sentinels that know of each other."""
    with pair() as (master, replica), contextlib.ExitStack() as stack:
        text = (
            f"sentinel monitor {MASTER} 127.0.0.1 {master.port} 2\n"
            f"sentinel down-after-milliseconds {MASTER} {DOWN_AFTER}\n"
            f"sentinel failover-timeout {MASTER} 5000\n"
        )
        made = tuple(_made(stack, sentinel=text) for _ in range(3))
        for one in made:
            wait_until(lambda one=one: "slaves=1,sentinels=3" in one.info().get("master0", ""), "Sentinels to meet")
        yield Watch(master, replica, made)


class Cluster(NamedTuple):
    """Three masters and, in the same order, the replica of each."""

    masters: tuple[Redis, ...]
    replicas: tuple[Redis, ...]

    @property
    def nodes(self) -> tuple[Redis, ...]:
        return self.masters + self.replicas

    def key_of(self, number: int) -> str:
        """A key that the master of that number serves."""
        node = self.masters[number]
        (mine,) = [line for line in node.do("CLUSTER", "NODES").decode().splitlines() if "myself" in line]
        first, last = map(int, mine.split()[8].split("-"))
        return next(
            key for key in map("key:{}".format, range(100_000)) if first <= node.do("CLUSTER", "KEYSLOT", key) <= last
        )

    def state(self, of: Redis | None = None) -> dict[str, str]:
        """CLUSTER INFO as one node has it: the first, if none is named."""
        lines = (of or self.masters[0]).do("CLUSTER", "INFO").decode().splitlines()
        return dict(line.split(":", 1) for line in lines)


def _knows(node: Redis, followers: int) -> bool:
    """Whether a node sees the cluster as it is to be; gossip takes a moment."""
    seen = node.do("CLUSTER", "NODES")
    if b"handshake" in seen or seen.count(b"connected") != SIX:
        return False
    return not followers or (b"cluster_state:ok" in node.do("CLUSTER", "INFO") and seen.count(b"slave") == followers)


@contextlib.contextmanager
def cluster(*, cluster_node_timeout: int = NODE_TIMEOUT, **options: object) -> Iterator[Cluster]:
    """Six nodes that all say `ok`, each master with a third of the slots and one replica."""
    how = {"cluster-enabled": "yes", "cluster-config-file": "nodes.conf", "cluster-node-timeout": FORMING}
    with contextlib.ExitStack() as stack:
        nodes = tuple(_made(stack, port=port, **how, **options) for port in free_ports(SIX))
        masters, replicas = nodes[: SIX // 2], nodes[SIX // 2 :]
        for number, node in enumerate(nodes):
            node.do("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            for other in nodes[:number]:
                node.do("CLUSTER", "MEET", "127.0.0.1", other.port)
        for number, master in enumerate(masters):
            part = SLOTS // len(masters)
            last = SLOTS - 1 if master is masters[-1] else (number + 1) * part - 1
            master.do("CLUSTER", "ADDSLOTSRANGE", number * part, last)
        for node in nodes:
            wait_until(functools.partial(_knows, node, 0), "nodes to meet")
        for master, replica in zip(masters, replicas, strict=True):
            replica.do("CLUSTER", "REPLICATE", master.do("CLUSTER", "MYID"))
        for node in nodes:
            wait_until(functools.partial(_knows, node, len(replicas)), "the cluster to form")
        for replica in replicas:
            wait_until(lambda replica=replica: replica.info()["master_link_status"] == "up", "replicas to follow")
        for node in nodes:
            node.do("CONFIG", "SET", "cluster-node-timeout", cluster_node_timeout)
        yield Cluster(masters, replicas)
