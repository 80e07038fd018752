"""Real PostgreSQL servers on loopback: a primary, streaming standbys, cascades, and PgBouncer; small and quick.

Each runs below a shell that ends it when the test run ends, however that ends. Nothing is synced to disk.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from servers import provision
from servers.cli import descendants
from servers.postgresql_session import Session
from servers.programs import Program, lacking, state, wait_until
from servers.redis import certificates, free_ports, refuse_dead

OWNER = "postgres"  # the superuser, too
APP = "app"  # who may see what is its own
WATCHER = "watcher"  # who may see all, as opsdoc should
PASSWORD = "hunter2hunter2"  # of these two; needed where `hba` says so
SETTINGS: Mapping[str, object] = {
    "listen_addresses": "127.0.0.1",
    "wal_level": "replica",
    "max_wal_senders": 8,
    "max_replication_slots": 8,
    "max_connections": 30,
    "max_prepared_transactions": 8,
    "shared_buffers": "16MB",
    "shared_preload_libraries": "pg_stat_statements",
    "fsync": "off",
    "autovacuum": "off",  # it would do what tests did not ask for
    "wal_retrieve_retry_interval": "200ms",
    "wal_receiver_status_interval": "1s",
    "lc_messages": "C",
    "timezone": "UTC",
}
STATUS_LINE = 7  # of postmaster.pid: `starting`, `ready`, `standby`

_BELOW_A_SHELL = (
    '"$@" >"$0" 2>&1 & server=$!; printf \'{"ready": true, "pid": %d}\\n\' $server; '
    "while read -r word; do :; done; kill -INT $server; kill -QUIT $server; kill -CONT $server; wait"
)


def _owner() -> str | None:
    """Who runs the servers: root may not."""
    return OWNER if os.geteuid() == 0 else None


def tool(name: str) -> str:
    """The path of a program of PostgreSQL."""
    found = provision.tool(name)
    if found is None:
        lacking(f"{name} is not installed (apt-get install postgresql)")
    return found


def _run(*argv: object) -> None:
    owner = _owner()
    done = subprocess.run(
        [str(word) for word in argv],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
        user=owner,
        group=owner,
        extra_groups=None if owner is None else [],
    )
    assert done.returncode == 0, f"{argv}: {done.stderr[-800:]}"


def _own_folder(name: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix=f"opsdoc-{name}-"))
    folder.chmod(0o755)
    if (owner := _owner()) is not None:
        shutil.chown(folder, owner, owner)
    return folder


def _below_a_shell(argv: Sequence[str], folder: Path, **options: Any) -> Program:
    return Program(["/bin/sh", "-c", _BELOW_A_SHELL, str(folder / "log"), *argv], cwd=folder, user=_owner(), **options)


# ── one server ───────────────────────────────────────────────────────────────────────────────────


class Postgresql:
    """A running server; a standby where it is told whom to follow. Options are settings: `max_connections=30`.

    Everybody is trusted but for what the lines in `hba` say, which go first. With `tls` it speaks TLS, too.
    """

    def __init__(
        self,
        follows: Postgresql | None = None,
        *,
        slot: str | None = None,
        hba: Sequence[str] = (),
        tls: bool = False,
        environment: Mapping[str, str] | None = None,
        awaits: str = "ready",  # the word of STATUS_LINE; a standby that lets nobody in becomes `standby`
        **settings: object,
    ) -> None:
        self._postgres = tool("postgres")
        self.port = free_ports(1)[0]
        self.folder = _own_folder("postgresql")
        self.data = self.folder / "data"
        self.follows = follows
        self._awaits = awaits
        self._environment = None if environment is None else {**os.environ, **environment}
        self._program: Program | None = None
        try:
            self._make(slot)
            self._configure(hba, {**settings, **(self._tls() if tls else {})})
            self.start()
            self._auto = (self.data / "postgresql.auto.conf").read_bytes()
            if follows is None and awaits == "ready":
                login = f"login password '{PASSWORD}'"
                self.sql(f"create role {APP} {login}", f"create role {WATCHER} {login} in role pg_monitor")
            if follows is not None and awaits == "ready":
                wait_until(lambda: self.streams() and self.caught_up(), f"{self.address} to be in step")
        except BaseException:
            self.stop()
            raise

    def _make(self, slot: str | None) -> None:
        if self.follows is None:
            _run(tool("initdb"), "-D", self.data, "-A", "trust", "-U", OWNER, "-E", "UTF8", "--no-sync", "--locale=C")
            return
        if slot is not None:
            self.follows.sql(f"select pg_create_physical_replication_slot('{slot}')")
        origin = ["-h", "127.0.0.1", "-p", self.follows.port, "-U", OWNER, *(("-S", slot) if slot else ())]
        quick = ["-X", "stream", "-c", "fast", "--no-sync", "--no-manifest"]
        _run(tool("pg_basebackup"), *origin, "-D", self.data, "-R", *quick)
        with (self.data / "postgresql.auto.conf").open("a") as file:  # it has the slot that its origin itself reads
            file.write(f"primary_slot_name = '{slot or ''}'\n")

    def _configure(self, hba: Sequence[str], settings: Mapping[str, object]) -> None:
        inherited = {} if self.follows is None else {"cluster_name": f"standby{self.port}"}
        mine = {"port": self.port, "unix_socket_directories": str(self.folder)}
        lines = [f"{name} = '{value}'" for name, value in {**SETTINGS, **inherited, **settings, **mine}.items()]
        with (self.data / "postgresql.conf").open("a") as file:
            file.write("\n".join(lines) + "\n")
        if hba:
            path = self.data / "pg_hba.conf"
            path.write_text("\n".join(hba) + "\n" + path.read_text())

    def _tls(self) -> dict[str, str]:
        for name in ("cert.pem", "key.pem"):
            path = Path(shutil.copy(certificates() / name, self.data))
            path.chmod(0o600)
            if (owner := _owner()) is not None:
                shutil.chown(path, owner, owner)
        return {"ssl": "on", "ssl_cert_file": "cert.pem", "ssl_key_file": "key.pem"}

    # what it is called

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._program is not None
        return self._program.pid

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def dsn(self, user: str = OWNER, database: str = "postgres", password: str = "", query: str = "") -> str:
        login = f"{user}:{password}" if password else user
        return f"postgresql://{login}@{self.address}/{database}{'?' * bool(query)}{query}"

    # what is asked of it

    def connect(self, application: str = "shop", **parameters: Any) -> Session:
        """A session of an application."""
        known = {"host": "127.0.0.1", "port": self.port, "user": OWNER, "dbname": "postgres"}
        return Session({**known, "application_name": application, **parameters})

    def sql(self, *statements: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """The rows of the last of some statements, over a connection of its own, each in a transaction of its own."""
        with contextlib.closing(self.connect("tests", **parameters)) as session:
            session.autocommit()
            return [session.run(statement) for statement in statements][-1]

    def value(self, statement: str, **parameters: Any) -> Any:
        """The one value of a statement."""
        return self.sql(statement, **parameters)[0][0]

    def refusal(self, **parameters: Any) -> str:
        """Why it lets a session with these parameters not in, in its own words; empty where it does."""
        try:
            self.connect(**parameters).close()
        except psycopg.OperationalError as error:
            return str(error)
        return ""

    def streams(self) -> bool:
        return self.value("select count(*) from pg_stat_wal_receiver where status = 'streaming'") == 1

    def caught_up(self) -> bool:
        """Whether a standby has replayed all that its origin wrote until now."""
        assert self.follows is not None
        end = "case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end"
        written = self.follows.value(f"select {end}")
        return bool(self.value(f"select pg_last_wal_replay_lsn() >= '{written}'"))

    def backend(self, kind: str) -> int:
        """The pid of its process of a kind, such as `walsender`."""
        return wait_until(
            lambda: next(iter(self.sql(f"select pid from pg_stat_activity where backend_type = '{kind}'")), [0])[0],
            f"a {kind} of {self.address}",
        )

    # what is done to it

    def start(self) -> None:
        command = [self._postgres, "-D", str(self.data)]
        self._program = _below_a_shell(command, self.folder, env=self._environment)
        wait_until(self._is_up, f"{self.address} to be {self._awaits}", 40)

    def _is_up(self) -> bool:
        assert self._program is not None
        refuse_dead(self._program, self.folder)
        with contextlib.suppress(OSError, IndexError):
            return (self.data / "postmaster.pid").read_text().splitlines()[STATUS_LINE].strip() == self._awaits
        return False

    def reload(self, **settings: object) -> None:
        """Change settings as an administrator does, until they are restored; None resets one."""
        changes = [
            f"alter system reset {name}" if value is None else f"alter system set {name} = '{value}'"
            for name, value in settings.items()
        ]
        self.sql(*changes, "select pg_reload_conf()")
        for name, value in settings.items():
            if value is not None and str(value).isidentifier():
                wait_until(lambda n=name, v=value: self.value(f"show {n}") == str(v), f"{name} to be {value}")

    @contextlib.contextmanager
    def frozen(self, kind: str | None = None) -> Iterator[None]:
        """All its processes, or one of a kind, as SIGSTOP leaves them: the kernel still accepts connections."""
        pids = [self.pid, *descendants(self.pid)] if kind is None else [self.backend(kind)]
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            wait_until(lambda: all(state(pid) in "TXZ" for pid in pids), "stopped processes")
            yield
        finally:
            for pid in reversed(pids):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def thaw(self) -> None:
        """Let go on whatever was stopped."""
        for pid in (self.pid, *descendants(self.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def restore(self) -> None:
        """As it was when it was made: settings, sessions, prepared transactions, tables; a standby replays again."""
        if self._program is None or not self._program.alive:
            self.start()
        self.thaw()
        (self.data / "postgresql.auto.conf").write_bytes(self._auto)
        os.kill(self.pid, signal.SIGHUP)
        others = "from pg_stat_activity where pid <> pg_backend_pid() and backend_type = 'client backend'"
        self.sql(f"select pg_terminate_backend(pid) {others}")
        wait_until(lambda: not self.sql(f"select 1 {others}"), "sessions to end")
        if self.follows is not None:
            self.sql("select pg_wal_replay_resume()")
            return
        prepared = [gid for (gid,) in self.sql("select quote_literal(gid) from pg_prepared_xacts")]
        self.sql(*[f"rollback prepared {gid}" for gid in prepared], "select 1")
        self.sql("drop schema public cascade", "create schema public", "drop extension if exists pg_stat_statements")

    def stop(self) -> None:
        if self._program is not None:
            if self._program.alive:
                self.thaw()
            self._program.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def halt(self) -> None:
        """End it as an administrator would; its files stay, so that it can be started again."""
        os.kill(self.pid, signal.SIGINT)
        wait_until(lambda: state(self.pid) in "XZ", f"{self.address} to be gone")
        assert self._program is not None
        self._program.stop()


# ── several ──────────────────────────────────────────────────────────────────────────────────────


class Pair(NamedTuple):
    """A primary, and the standby that streams from its slot `s1`."""

    primary: Postgresql
    standby: Postgresql

    def restore(self) -> None:
        """Undo what a test did, and wait until the standby is in step."""
        self.primary.thaw()
        self.standby.thaw()
        self.primary.restore()
        self.standby.restore()
        wait_until(lambda: self.standby.streams() and self.standby.caught_up(), "the standby to catch up")


@contextlib.contextmanager
def server(follows: Postgresql | None = None, **options: Any) -> Iterator[Postgresql]:
    """One server, as `Postgresql` takes options."""
    made = Postgresql(follows, **options)
    try:
        yield made
    finally:
        made.stop()


@contextlib.contextmanager
def pair(**settings: Any) -> Iterator[Pair]:
    """A primary and a standby in step with it."""
    with server(**settings) as primary, server(primary, slot="s1") as standby:
        yield Pair(primary, standby)


# ── a pooler ─────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def pgbouncer(behind: Postgresql, mode: str = "transaction", **settings: object) -> Iterator[int]:
    """A PgBouncer before a server; its port. It trusts its users `postgres`, who may see its console, and `app`."""
    path = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if path is None:
        lacking("pgbouncer is not installed")
    folder, port = _own_folder("pgbouncer"), free_ports(1)[0]
    (folder / "users").write_text('"postgres" ""\n"app" ""\n"watcher" ""\n')
    known = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "trust",
        "auth_file": folder / "users",
        "admin_users": OWNER,
        "pool_mode": mode,
        "pidfile": folder / "pid",
        **settings,
    }
    lines = ["[databases]", f"* = host=127.0.0.1 port={behind.port}", "[pgbouncer]"]
    (folder / "ini").write_text("\n".join(lines + [f"{name} = {value}" for name, value in known.items()]) + "\n")
    for file in folder.iterdir():
        file.chmod(0o644)
    program = _below_a_shell([path, str(folder / "ini")], folder)
    try:
        wait_until(lambda: (refuse_dead(program, folder), (folder / "pid").exists())[1], "pgbouncer to listen")
        yield port
    finally:
        program.stop()
        shutil.rmtree(folder, ignore_errors=True)
