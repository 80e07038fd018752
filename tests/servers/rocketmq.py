"""Real RocketMQ clusters: a name server, brokers, slaves and a proxy, on loopback and in a folder of their own.

Each JVM runs below a shell that ends it when the test run ends, however that ends. The jars come from the cache of
`provision.rocketmq`; what is ours of a JVM's start-up (loaded classes, no key made for TLS that nobody asked for) is
kept short, since it is most of what these tests cost. A preloaded `bind` keeps both series to loopback.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from servers import jdk, provision
from servers.programs import HERE, Program, lacking, marked_line, state, wait_until
from servers.rocketmq_client import READ, SUCCESS, WRITE, Account, Broker, Link

SERIES = tuple(provision.ROCKETMQ)
SOURCES = HERE / "rocketmq"
CLUSTER = "shop"
STUCK = f"StockClient.java:{marked_line(SOURCES / 'StockClient.java', '// STUCK')}"
SHORT_DELAYS = " ".join(["1s"] * 18)  # every retry after a second
LONG_DELAYS = " ".join(["1s 5s 1h", *["1h"] * 15])  # a first retry, level 3, never comes while a test lasts
ADMIN = Account("shopadmin", "adminsecret0001")
READER = Account("shopreader", "readersecret0001")  # may read and not write
BOOT_TIMEOUT = 90.0

_MAINS = {
    "namesrv": "org.apache.rocketmq.namesrv.NamesrvStartup",
    "broker": "org.apache.rocketmq.broker.BrokerStartup",
    "proxy": "org.apache.rocketmq.proxy.ProxyStartup",
}
_JVM = (
    "-Xms128m",
    "-Xmx384m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:MaxDirectMemorySize=256m",
    "-Djava.net.preferIPv4Stack=true",  # what the preloaded bind knows
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED",
    "-Drocketmq.broker.diskSpaceWarningLevelRatio=0.99",
)
_BELOW_A_SHELL = (
    '"$@" >>"$0" 2>&1 & jvm=$!; printf \'{"ready": true, "pid": %d}\\n\' $jvm; '
    "while read -r word; do :; done; kill -9 $jvm; wait"
)
_LOGGING = """<configuration>
<appender name="out" class="{package}.core.ConsoleAppender"><encoder><pattern>%d %p %c{{0}} %m%n</pattern></encoder>
</appender><root level="WARN"><appender-ref ref="out"/></root></configuration>
"""
_STORE = {  # small files: a commit log of 1 MiB is full soon, and then the oldest can be lost
    "mappedFileSizeCommitLog": 1 << 20,
    "maxMessageSize": 1 << 18,
    "mappedFileSizeConsumeQueue": 60_000,
    "maxHashSlotNum": 1_000,
    "maxIndexNum": 4_000,
    "timerWheelEnable": "false",
    "diskMaxUsedSpaceRatio": 95,
}


# ── what is needed ───────────────────────────────────────────────────────────────────────────────


def jars(series: str) -> Path:
    """The folder of the jars of a series, `4.9` or `5.3`; without them the test is skipped."""
    found = provision.rocketmq(series)
    if found is None:
        lacking(f"no RocketMQ {provision.ROCKETMQ[series]} (python tests/servers/provision.py)")
    return found


@functools.cache
def classes(series: str) -> Path:
    """The producer and the consumer, compiled against the client of a series, in the cache."""
    command = [jdk.tool("javac"), "--release", str(jdk.OLDEST), "-g", "-proc:none"]
    sources = sorted(SOURCES.glob("*.java"))
    stage = jdk.SOURCES / "com/acme/Stage.java"

    def compile_into(folder: Path) -> None:
        paths = ["-cp", f"{jars(series)}/*", "-sourcepath", str(jdk.SOURCES), "-d", str(folder)]
        folder.mkdir()
        subprocess.run([*command, *paths, *map(str, sources)], check=True, timeout=120)

    return _kept(f"rocketmq-{provision.ROCKETMQ[series]}-classes", [*sources, stage], command, compile_into)


@functools.cache
def _only_loopback() -> Path:
    """The library that keeps a server to loopback."""
    if shutil.which("gcc") is None:
        lacking("gcc is not installed")
    source = SOURCES / "loopback.c"
    command = ["gcc", "-O1", "-shared", "-fPIC", str(source), "-o"]
    return _kept(
        "loopback.so", [source], command, lambda made: subprocess.run([*command, str(made)], check=True, timeout=60)
    )


def _kept(name: str, sources: list[Path], command: list[str], make: Callable[[Path], object]) -> Path:
    """What is made once of its sources, in the cache; workers that need it at once wait for each other."""
    parts = [*map(str.encode, command), *(source.read_bytes() for source in sources)]
    key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
    done = provision.cache() / f"{name}-{key}"
    done.parent.mkdir(parents=True, exist_ok=True)
    with done.with_name(f"{done.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            work = Path(tempfile.mkdtemp(prefix="make-", dir=done.parent))
            try:
                make(work / "made")
                (work / "made").rename(done)
            finally:
                shutil.rmtree(work)
    return done


@functools.cache
def _archives(series: str) -> Path:
    """The folder with what the JVMs of a series load at their start, prepared: it halves what a start costs."""

    def dump(folder: Path) -> None:
        folder.mkdir()
        with contextlib.closing(RocketMQ(series, proxy=series != "4.9", _dump=folder)) as cluster:
            for server in (cluster.proxy, *cluster.brokers.values(), cluster.namesrv):
                if server is not None:
                    server.end()

    command = [jdk.tool("java"), *_JVM, *_MAINS.values()]
    return _kept(f"rocketmq-{provision.ROCKETMQ[series]}-archives", [jdk.home() / "release"], command, dump)


def free_ports(count: int) -> int:
    """The first of so many free ports in a row, below those that the kernel gives to clients."""
    while True:
        first = 20_000 + secrets.randbelow(12_000)
        with contextlib.ExitStack() as held, contextlib.suppress(OSError):
            for port in range(first, first + count):
                held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first


# ── one server ───────────────────────────────────────────────────────────────────────────────────


class Server:
    """One JVM of a cluster. It can be killed, stopped as by SIGSTOP, and started again with what it has on disk."""

    def __init__(self, name: str, port: int, folder: Path, command: list[str]) -> None:
        self.name = name
        self.port = port
        self.address = f"127.0.0.1:{port}"
        self.folder = folder
        self._command = command
        self.program: Program | None = None

    def start(self) -> None:
        (self.folder / "store/lock").unlink(missing_ok=True)
        drop = ("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "NAMESRV_ADDR")
        env = {name: value for name, value in os.environ.items() if name not in drop}
        env |= {"ROCKETMQ_HOME": str(self.folder), "LD_PRELOAD": str(_only_loopback())}
        shell = ["/bin/sh", "-c", _BELOW_A_SHELL, str(self.folder / "log"), *self._command]
        self.program = Program(shell, env=env, cwd=self.folder)

    @property
    def pid(self) -> int:
        assert self.program is not None
        return self.program.pid

    @property
    def alive(self) -> bool:
        return self.program is not None and state(self.pid) not in "XZ"

    @property
    def answers(self) -> bool:
        """Whether it takes connections; a test fails at once when it has ended."""
        if not self.alive:
            raise AssertionError(f"{self.name} ended: {self.log()[-2000:]}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def log(self) -> str:
        """What it wrote."""
        return (self.folder / "log").read_text(errors="replace")

    def kill(self) -> None:
        """End it as the kernel would."""
        if self.program is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            wait_until(lambda: not self.alive, f"{self.name} to be dead")
            self.program.stop()
            self.program = None

    def end(self) -> None:
        """End it in order."""
        if self.alive:
            os.kill(self.pid, signal.SIGTERM)
            wait_until(lambda: not self.alive, f"{self.name} to end", BOOT_TIMEOUT)
        self.kill()

    def stopped(self) -> contextlib.AbstractContextManager[Program]:
        """It as SIGSTOP leaves it: the kernel takes connections, and nobody answers."""
        assert self.program is not None
        return self.program.stopped()


# ── a cluster ────────────────────────────────────────────────────────────────────────────────────


class RocketMQ:
    """A cluster of a series, ready when it is made.

    `brokers` is 1 or 2 masters, broker-a and broker-b; `slave` gives broker-a a slave, `broker-a-slave`; `proxy` (5.x)
    sets a proxy before them. `acl` asks for ADMIN or READER. `tls` takes nothing but TLS, with the certificate `trust`;
    without it plain text alone is served. `settings` go into the file of every broker.
    """

    def __init__(
        self,
        series: str = SERIES[-1],
        *,
        brokers: int = 1,
        slave: bool = False,
        acl: bool = False,
        tls: bool = False,
        proxy: bool = False,
        delays: str = SHORT_DELAYS,
        settings: Mapping[str, object] = MappingProxyType({}),
        _dump: Path | None = None,
    ) -> None:
        self.series = series
        self.version = provision.ROCKETMQ[series]
        self._jars = jars(series)
        self._dump = _dump
        self._archives = None if _dump else _archives(series)
        self._folder = Path(tempfile.mkdtemp(prefix="opsdoc-rocketmq-"))
        self._programs = contextlib.ExitStack()
        self.account = ADMIN if acl else None
        self.trust = str(self._certificate()) if tls else None
        self.brokers: dict[str, Server] = {}
        self.proxy: Server | None = None
        try:
            self.namesrv = self._name_server()
            for letter in "ab"[:brokers]:
                self._broker(f"broker-{letter}", delays, settings, acl=acl)
            if slave:
                self._broker("broker-a", delays, settings, acl=acl, slave=True)
            self.await_brokers()
            if acl and series != "4.9":
                self._make_reader()
            if proxy:
                self.proxy = self._proxy()
        except BaseException:
            self.close()
            raise

    # ── to use it ────────────────────────────────────────────────────────────────────────────────

    @property
    def address(self) -> str:
        """The address of the name server."""
        return self.namesrv.address

    def name_server(self) -> Link:
        """A new connection to the name server."""
        return Link(self.namesrv.address, None, self.trust)

    def broker(self, name: str = "broker-a", account: Account | None = None) -> Broker:
        """A new connection to a broker, signed by `account` or by ADMIN."""
        return Broker(self.brokers[name].address, account or self.account, self.trust)

    def route(self, topic: str) -> int:
        """The queues of a topic that the name server knows, over all brokers; 0 when it does not know it."""
        with self.name_server() as names:
            reply = names.ask(105, {"topic": topic})
        return 0 if reply.code else sum(queues["readQueueNums"] for queues in reply.value()["queueDatas"])

    def topic(self, name: str, **how: int) -> str:
        """Create a topic on every master, and return when the name server knows all its queues."""
        masters = [broker for broker in self.brokers if not broker.endswith("-slave")]
        for master in masters:
            with self.broker(master) as broker:
                broker.topic(name, **how)
        wanted = how.get("read", 4) * len(masters)
        wait_until(lambda: self.route(name) == wanted, f"the name server to know {name}")
        return name

    def consumer(self, group: str, topic: str, mode: str = "ok", **how: object) -> Program:
        """A Java push consumer, see `Consumer.java`; facts: client. It ends with the cluster, or before."""
        return self._java("Consumer", group=group, topic=topic, mode=mode, **how)

    def producer(self, topic: str, **how: object) -> Program:
        """A Java producer, see `Producer.java`: `say("send 10")`, or a rate while it is `hot()`."""
        return self._java("Producer", topic=topic, **how)

    def registered(self) -> set[str]:
        """The brokers that the name server knows, slaves as `broker-a-slave`."""
        with self.name_server() as names:
            table = names.do(106).value().get("brokerAddrTable", {})
        return {f"{name}{'-slave' * (key != '0')}" for name, data in table.items() for key in data["brokerAddrs"]}

    def await_brokers(self) -> None:
        """Return when the name server knows all brokers that should live, and they answer."""
        for server in self.brokers.values():
            wait_until(lambda server=server: server.answers, f"{server.name} to answer", BOOT_TIMEOUT)
        wait_until(self._all_registered, "all brokers to be registered", BOOT_TIMEOUT)
        for name in self.brokers:  # in its first second a broker answers this with an error
            with self.broker(name) as broker:
                wait_until(lambda broker=broker: broker.ask(28).code == SUCCESS, f"{name} to know itself")

    def _all_registered(self) -> bool:
        """Whether the name server knows all brokers; those of 5.x that looked for it too early are made to look again.

        They would do so by themselves after ten seconds.
        """
        missing = set(self.brokers) - self.registered()
        for name in missing:
            with self.broker(name) as broker:
                broker.setting(brokerPermission=READ | WRITE)
        return not missing

    def restart(self, name: str = "broker-a", between: Callable[[Server], object] | None = None) -> None:
        """End a broker in order and start it again; `between` may tamper with its folder."""
        server = self.brokers[name]
        server.end()
        if between is not None:
            between(server)
        server.start()
        self.await_brokers()

    def lose_oldest(self, name: str = "broker-a") -> None:
        """Let a broker lose the messages of all files of its commit log but the last, as age or a full disk does."""

        def lose(server: Server) -> None:
            files = sorted((server.folder / "store/commitlog").iterdir())
            written = [file for file in files if file.read_bytes()[:8].strip(b"\0")]
            for file in written[:-1]:
                file.unlink()

        self.restart(name, lose)

    def close(self) -> None:
        """End all of it, at once."""
        self._programs.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _java(self, main: str, **settings: object) -> Program:
        path = f"{classes(self.series)}:{self._jars}/*"
        home = Path(tempfile.mkdtemp(prefix=f"{main}-", dir=self._folder))
        if self.account is not None:
            settings = {"access": self.account.access, "secret": self.account.secret, **settings}
        words = {"namesrv": self.address, **settings}
        options = [*_JVM, f"-Duser.home={home}", *self._log_options(home), *self._tls_options()]
        options += ["-Xms64m", "-Drocketmq.client.logUseSlf4j=true", "-Drocketmq.client.rebalance.waitInterval=1000"]
        command = [jdk.tool("java"), *options, "-cp", path, f"com.acme.{main}"]
        program = Program([*command, *(f"{name}={_word(value)}" for name, value in words.items())], litter=home)
        self._programs.callback(program.stop)
        return program

    # ── to make it ───────────────────────────────────────────────────────────────────────────────

    def _name_server(self) -> Server:
        port = free_ports(1)
        folder = self._home("namesrv")
        files = {"kvConfigPath": folder / "kv.json", "configStorePath": folder / "namesrv.properties"}
        server = self._server("namesrv", "namesrv", port, folder, {"listenPort": port, **files})
        # A broker that finds no name server tries again only after ten seconds.
        wait_until(lambda: server.answers, "the name server to answer", BOOT_TIMEOUT)
        return server

    def _broker(
        self, name: str, delays: str, settings: Mapping[str, object], *, acl: bool, slave: bool = False
    ) -> None:
        port = free_ports(4) + 2  # P - 2 is a second port for requests, P + 1 that of replication
        called = f"{name}-slave" if slave else name
        folder = self._home(called)
        config = {
            "brokerClusterName": CLUSTER,
            "brokerName": name,
            "brokerId": int(slave),
            "brokerRole": "SLAVE" if slave else "ASYNC_MASTER",
            "namesrvAddr": self.address,
            "listenPort": port,
            "brokerIP1": "127.0.0.1",
            "brokerIP2": "127.0.0.1",
            "storePathRootDir": folder / "store",
            "storePathCommitLog": folder / "store/commitlog",
            "messageDelayLevel": delays,
            **_STORE,
            **(self._access(folder) if acl else {}),
            **settings,
        }
        self.brokers[called] = self._server("broker", called, port, folder, config)

    def _proxy(self) -> Server:
        if self.series == "4.9":
            raise ValueError("a proxy came with 5.0")
        port = free_ports(2)
        folder = self._home("proxy")
        config = {
            "proxyMode": "CLUSTER",
            "proxyName": "proxy-a",
            "rocketMQClusterName": CLUSTER,
            "namesrvAddr": self.address,
            "remotingListenPort": port,
            "grpcServerPort": port + 1,
            "localServeAddr": "127.0.0.1",
        }
        (folder / "proxy.json").write_text(json.dumps(config))
        server = self._server("proxy", "proxy", port, folder, {})
        wait_until(lambda: server.answers, "the proxy to answer", BOOT_TIMEOUT)
        return server

    def _home(self, name: str) -> Path:
        home = self._folder / name
        (home / "conf").mkdir(parents=True)
        return home

    def _server(self, role: str, name: str, port: int, folder: Path, config: Mapping[str, object]) -> Server:
        lines = "".join(f"{key}={value}\n" for key, value in config.items())
        (folder / "server.conf").write_text(lines)
        options = [*_JVM, f"-Duser.home={folder}", *self._log_options(folder), *self._tls_options()]
        if self._dump is not None:
            options.append(f"-XX:ArchiveClassesAtExit={self._dump / role}.jsa")
        elif (archive := self._archives / f"{role}.jsa").exists():
            options.append(f"-XX:SharedArchiveFile={archive}")
        last = ["-pc", str(folder / "proxy.json")] if role == "proxy" else ["-c", str(folder / "server.conf")]
        command = [jdk.tool("java"), *options, "-cp", f"{self._jars}/*", _MAINS[role], *last]
        server = Server(name, port, folder, command)
        server.start()
        self._programs.callback(server.kill)
        return server

    def _log_options(self, folder: Path) -> list[str]:
        """Warnings and errors, and no files: 4.9 reads its file by name, 5.x the one it is told."""
        (folder / "conf").mkdir(exist_ok=True)
        package = "ch.qos.logback" if self.series == "4.9" else "org.apache.rocketmq.logging.ch.qos.logback"
        for name in ("namesrv", "broker", "tools"):
            (folder / f"conf/logback_{name}.xml").write_text(_LOGGING.format(package=package))
        file = folder / "conf/logback_tools.xml"
        return [f"-Drmq.logback.configurationFile={file}", f"-Dlogback.configurationFile={file}"]

    def _certificate(self) -> Path:
        if shutil.which("openssl") is None:
            lacking("openssl is not installed")
        made = self._folder / "certificate.pem"
        key = ["-newkey", "rsa:2048", "-nodes", "-keyout", str(self._folder / "key.pem"), "-out", str(made)]
        names = ["-subj", "/CN=shop.acme", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
        command = ["openssl", "req", "-x509", "-days", "2", *key, *names]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        return made

    def _tls_options(self) -> list[str]:
        if self.trust is None:  # else each server makes a key of its own, which takes longer than all the rest
            return ["-Dtls.server.mode=disabled"]
        server = ["-Dtls.server.mode=enforcing", f"-Dtls.server.certPath={self.trust}"]
        client = ["-Dtls.enable=true", "-Dtls.client.authServer=true", f"-Dtls.client.trustCertPath={self.trust}"]
        return [*server, *client, f"-Dtls.server.keyPath={self._folder / 'key.pem'}", "-Dtls.test.mode.enable=false"]

    def _access(self, folder: Path) -> dict[str, object]:
        """The settings of a broker that lets in nobody but ADMIN and READER."""
        if self.series == "4.9":
            accounts = [
                {"accessKey": ADMIN.access, "secretKey": ADMIN.secret, "admin": True},
                {
                    "accessKey": READER.access,
                    "secretKey": READER.secret,
                    "admin": False,
                    "defaultTopicPerm": "SUB",
                    "defaultGroupPerm": "SUB",
                },
            ]
            (folder / "conf/plain_acl.yml").write_text(json.dumps({"accounts": accounts}))  # JSON is YAML
            return {"aclEnable": "true"}
        provider = "org.apache.rocketmq.auth"
        return {
            "authConfigPath": folder / "auth",
            "authenticationEnabled": "true",
            "authenticationProvider": f"{provider}.authentication.provider.DefaultAuthenticationProvider",
            "authenticationMetadataProvider": f"{provider}.authentication.provider.LocalAuthenticationMetadataProvider",
            "authorizationEnabled": "true",
            "authorizationProvider": f"{provider}.authorization.provider.DefaultAuthorizationProvider",
            "authorizationMetadataProvider": f"{provider}.authorization.provider.LocalAuthorizationMetadataProvider",
            "initAuthenticationUser": json.dumps({"username": ADMIN.access, "password": ADMIN.secret}),
            "innerClientAuthenticationCredentials": json.dumps({"accessKey": ADMIN.access, "secretKey": ADMIN.secret}),
        }

    def _make_reader(self) -> None:
        """READER, who in 5.x is made by a request: all of topics, groups and the cluster may be read."""
        user = {"username": READER.access, "password": READER.secret, "userType": "Normal", "userStatus": "enable"}
        resources = ("Topic:*", "Group:*", f"Cluster:{CLUSTER}")
        how = {"actions": ["Get", "List", "Sub"], "sourceIps": [], "decision": "Allow"}
        subject = f"User:{READER.access}"
        entries = [{"resource": resource, **how} for resource in resources]
        rules = {"subject": subject, "policies": [{"policyType": "Custom", "entries": entries}]}
        for name in self.brokers:
            with self.broker(name) as broker:
                broker.do(3001, {"username": READER.access}, json.dumps(user).encode())
                broker.do(3006, {"subject": subject}, json.dumps(rules).encode())


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@contextlib.contextmanager
def cluster(series: str, **how: object) -> Iterator[RocketMQ]:
    """A cluster, ended afterwards."""
    with contextlib.closing(RocketMQ(series, **how)) as made:
        yield made
