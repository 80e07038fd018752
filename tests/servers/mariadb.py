"""Real MariaDB servers on loopback: a primary and its replicas; small, quick, run as mysql.

Each runs below a shell that ends it when the test run ends, however that ends. Nothing is synced to disk.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pymysql

from servers import provision
from servers.mariadb_session import Session, has_ended
from servers.programs import Program, lacking, state, wait_until
from servers.redis import below_a_shell, certificates, free_ports, refuse_dead

OWNER = "mysql"
WATCHER, WATCHER_PASSWORD = "watcher", "Wächter-of-c0nnections"  # may see all, may change nothing
BARE, BARE_PASSWORD = "bare", "barely-l3t-in"  # may log in
APP, APP_PASSWORD = "app", "app-s3cret-w0rd"  # owns the database app, as an application does
SECURE, SECURE_PASSWORD = "secure", "only-0ver-tls"  # as the watcher, but over TLS only
REPLICATOR, REPLICATOR_PASSWORD = "repl", "repl-s3cret-w0rd"
MAX_CONNECTIONS = 30
LOST = {0, 2006, 2013}  # the numbers of PyMySQL's errors once a connection is gone

_INIT = f"""
SET sql_log_bin = 0;
CREATE USER IF NOT EXISTS {WATCHER}@'%' IDENTIFIED BY '{WATCHER_PASSWORD}';
GRANT PROCESS, REPLICA MONITOR ON *.* TO {WATCHER}@'%';
GRANT SELECT ON performance_schema.* TO {WATCHER}@'%';
CREATE USER IF NOT EXISTS {SECURE}@'%' IDENTIFIED BY '{SECURE_PASSWORD}' REQUIRE SSL;
GRANT PROCESS, REPLICA MONITOR ON *.* TO {SECURE}@'%';
CREATE USER IF NOT EXISTS {BARE}@'%' IDENTIFIED BY '{BARE_PASSWORD}';
CREATE USER IF NOT EXISTS {APP}@'%' IDENTIFIED BY '{APP_PASSWORD}';
GRANT ALL ON app.* TO {APP}@'%';
CREATE USER IF NOT EXISTS {REPLICATOR}@'%' IDENTIFIED BY '{REPLICATOR_PASSWORD}';
GRANT REPLICATION SLAVE ON *.* TO {REPLICATOR}@'%';
CREATE DATABASE IF NOT EXISTS app;
"""
_ACCOUNTS = {
    "root": "",
    WATCHER: WATCHER_PASSWORD,
    SECURE: SECURE_PASSWORD,
    BARE: BARE_PASSWORD,
    APP: APP_PASSWORD,
    REPLICATOR: REPLICATOR_PASSWORD,
}


def tool(name: str) -> str:
    """The path of a program of MariaDB."""
    found = provision.tool(name)
    if found is None:
        lacking(f"{name} is not installed (apt-get install mariadb-server)")
    return found


def _folder(name: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix=f"opsdoc-{name}-"))
    folder.chmod(0o755)
    if os.geteuid() == 0:
        shutil.chown(folder, OWNER, OWNER)
    return folder


def _as_owner() -> list[str]:
    return [f"--user={OWNER}"] if os.geteuid() == 0 else []


@functools.cache
def _template() -> Path:
    """The data of a new server, made once: each server starts from a copy of it."""
    install = tool("mariadb-install-db")
    folder = _folder("mariadb-template")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    small = ["--innodb-log-file-size=4M", "--innodb-buffer-pool-size=16M", "--innodb-flush-method=nosync"]
    words = ["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]
    done = subprocess.run(
        [install, "--no-defaults", *_as_owner(), f"--datadir={folder / 'data'}", *words, *small],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-800:] + done.stdout[-800:]
    return folder / "data"


# ── one server ───────────────────────────────────────────────────────────────────────────────────


class Mariadb:
    """A running server; a replica where it is told whom to follow. Words go to its command line as they are."""

    def __init__(self, *words: str, follows: Mariadb | None = None, tls: bool = False) -> None:
        self._mariadbd = tool("mariadbd")
        self.port = free_ports(1)[0]
        self.folder = _folder("mariadb")
        self.socket = self.folder / "mysqld.sock"
        self.follows = follows
        self._words = [*words, *(self._tls() if tls else [])]
        self._program: Program | None = None
        self._sessions: list[Session] = []
        self._root: Session | None = None
        self._changed: dict[str, object] = {}
        try:
            subprocess.run(["cp", "-a", str(_template()), str(self.folder / "data")], check=True, timeout=60)
            (self.folder / "init.sql").write_text(_INIT)
            self.start()
            if follows is not None:
                self.follow(follows)
        except BaseException:
            self.stop()
            raise

    @staticmethod
    def _tls() -> list[str]:
        files = certificates()
        names = {"cert": "cert.pem", "key": "key.pem", "ca": "ca.pem"}
        return [f"--ssl-{name}={files / file}" for name, file in names.items()]

    def start(self) -> None:
        """Start it, also after `kill`."""
        self._root = None
        words = {
            "datadir": self.folder / "data",
            "socket": self.socket,
            "port": self.port,
            "bind-address": "127.0.0.1",
            "server-id": self.port,
            "log-bin": "bin",
            "log-slave-updates": 1,
            "relay-log": "relay",
            "pid-file": self.folder / "pid",
            "init-file": self.folder / "init.sql",
            "innodb-buffer-pool-size": "16M",
            "innodb-log-file-size": "4M",
            "innodb-flush-log-at-trx-commit": 0,
            "innodb-flush-method": "nosync",
            "innodb-buffer-pool-dump-at-shutdown": 0,
            "max-connections": MAX_CONNECTIONS,
            "slave-net-timeout": 60,
            "default-time-zone": "+00:00",
        }
        argv = [self._mariadbd, "--no-defaults", *_as_owner(), "--skip-name-resolve", "--skip-slave-start"]
        argv += [f"--{name}={value}" for name, value in words.items()]
        self._program = below_a_shell([*argv, *self._words], self.folder)
        wait_until(self._answers, f"{self.address} to answer", 60)

    def _answers(self) -> bool:
        assert self._program is not None
        refuse_dead(self._program, self.folder)
        with contextlib.suppress(pymysql.err.OperationalError):
            self.sql("SELECT 1")
            return True
        return False

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def dsn(self, user: str = WATCHER, password: str | None = None, database: str = "") -> str:
        """The URL that opsdoc is given."""
        secret = _ACCOUNTS[user] if password is None else password
        return f"mysql://{user}:{secret}@{self.address}/{database}"

    @property
    def pid(self) -> int:
        assert self._program is not None
        return self._program.pid

    def session(self, user: str = APP, database: str | None = None, program: str = "shop") -> Session:
        """A session of an application, closed with the server or by `rest`."""
        if user == APP and database is None:
            database = "app"
        made = Session(self.port, user, _ACCOUNTS[user], database, program)
        self._sessions.append(made)
        return made

    def sql(self, text: str) -> list[dict[str, object]]:
        """What a statement of root returns; one session is kept for it."""
        if self._root is None:
            self._root = Session(self.port, "root", "", None, "test", socket=self.socket)
        try:
            return self._root.sql(text)
        except (pymysql.err.OperationalError, pymysql.err.InterfaceError) as error:
            if error.args[0] in LOST:
                self._root = None
            raise

    def value(self, text: str) -> object:
        """The one value of the one row."""
        (row,) = self.sql(text)
        return next(iter(row.values()))

    def status(self, name: str) -> str:
        """A status variable."""
        return str(self.sql(f"SHOW GLOBAL STATUS LIKE '{name}'")[0]["Value"])

    def set_global(self, name: str, value: object) -> None:
        """Change a setting until `rest`."""
        self._changed.setdefault(name, self.value(f"SELECT @@GLOBAL.{name}"))
        self._set(name, value)

    def _set(self, name: str, value: object) -> None:
        self.sql(f"SET GLOBAL {name} = {value}" if isinstance(value, int | float) else f"SET GLOBAL {name} = '{value}'")

    # ── replication ──────────────────────────────────────────────────────────────────────────────

    def follow(self, primary: Mariadb, channel: str = "", **options: object) -> None:
        """Replicate from a server from its first change on, by GTID; options are those of CHANGE MASTER."""
        words: dict[str, object] = {
            "master_host": "127.0.0.1",
            "master_port": primary.port,
            "master_user": REPLICATOR,
            "master_password": REPLICATOR_PASSWORD,
            "master_use_gtid": "slave_pos",
            "master_connect_retry": 1,
            "master_heartbeat_period": 1,
            **options,
        }
        bare = ("master_use_gtid",)
        said = ", ".join(
            f"{name} = {value!r}" if isinstance(value, str) and name not in bare else f"{name} = {value}"
            for name, value in words.items()
        )
        self.follows = primary
        self.sql(f"CHANGE MASTER '{channel}' TO {said}")
        self.sql(f"START SLAVE '{channel}'")
        wait_until(lambda: self.replicates(channel), f"{self.address} to replicate from {primary.address}")

    def slave(self, channel: str = "") -> dict[str, object]:
        """What it tells of its replication."""
        rows = self.sql(f"SHOW SLAVE '{channel}' STATUS")
        return rows[0] if rows else {}

    def replicates(self, channel: str = "") -> bool:
        now = self.slave(channel)
        return now.get("Slave_IO_Running") == "Yes" and now.get("Slave_SQL_Running") == "Yes"

    def caught_up(self) -> bool:
        """Whether it has applied all that its primary has written."""
        assert self.follows is not None
        position = str(self.follows.value("SELECT @@GLOBAL.gtid_binlog_pos"))
        if not position:
            return True
        return self.value(f"SELECT MASTER_GTID_WAIT('{position}', 0)") == 0

    # ── ends, and faults ─────────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """As SIGSTOP leaves it: the kernel still accepts connections."""
        assert self._program is not None
        with self._program.stopped():
            yield

    def kill(self) -> None:
        """End it at once, with its data kept."""
        assert self._program is not None
        self._program.stop()
        self._root = None

    def rest(self) -> None:
        """Undo what tests do to one server: frozen, sessions, prepared transactions, settings, data, replication."""
        if self._program is not None and state(self.pid) == "T":
            os.kill(self.pid, signal.SIGCONT)
        for session in self._sessions:
            session.close()
        self._sessions.clear()
        self._end_sessions()
        for row in self.sql("XA RECOVER FORMAT='SQL'"):
            self.sql(f"XA ROLLBACK {row['data']}")
        for name, value in self._changed.items():
            self._set(name, value)
        self._changed.clear()
        if self.sql("SHOW ALL SLAVES STATUS"):
            self.sql("STOP ALL SLAVES")
            for row in self.sql("SHOW ALL SLAVES STATUS"):
                self.sql(f"RESET SLAVE '{row['Connection_name']}' ALL")
        self.sql("RESET MASTER")
        self.sql("SET GLOBAL gtid_slave_pos = ''")
        self.sql("SET sql_log_bin = 0")
        self.sql("DROP DATABASE IF EXISTS app")
        self.sql("CREATE DATABASE app")
        self.sql("SET sql_log_bin = 1")

    def _end_sessions(self) -> None:
        mine = "user NOT IN ('system user', 'event_scheduler') AND id <> CONNECTION_ID() AND user <> ''"
        found = [row["id"] for row in self.sql(f"SELECT id FROM information_schema.processlist WHERE {mine}")]
        for session in found:
            with contextlib.suppress(pymysql.err.MySQLError):
                self.sql(f"KILL {session}")
        wait_until(lambda: all(has_ended(self.sql, session) for session in found), f"{self.address} to end sessions")

    def stop(self) -> None:
        for session in self._sessions:
            session.close()
        if self._program is not None:
            self._program.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def server(*words: str, follows: Mariadb | None = None, tls: bool = False) -> Iterator[Mariadb]:
    """One server, as `Mariadb` takes options."""
    made = Mariadb(*words, follows=follows, tls=tls)
    try:
        yield made
    finally:
        made.stop()


# ── a primary and a replica ──────────────────────────────────────────────────────────────────────


class Pair:
    """A primary and a replica that follows it."""

    def __init__(self, primary: Mariadb, replica: Mariadb) -> None:
        self.primary = primary
        self.replica = replica

    def restore(self) -> None:
        """Both as new: no data, no faults, and the replica in step."""
        for one in (self.replica, self.primary):
            one.rest()
        self.replica.follow(self.primary)

    def in_step(self) -> None:
        """Return once the replica has applied all."""
        wait_until(self.replica.caught_up, "the replica to catch up")


@contextlib.contextmanager
def pair(*words: str) -> Iterator[Pair]:
    """A primary and a replica."""
    with server(*words) as primary, server(*words, follows=primary) as replica:
        yield Pair(primary, replica)
