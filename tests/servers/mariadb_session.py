"""A session of an application on a MariaDB server, through PyMySQL: statements that return, and such that wait."""

from __future__ import annotations

import contextlib
import socket as sockets
import threading
from collections.abc import Callable
from pathlib import Path

import pymysql
import pymysql.cursors

PATIENCE = 60  # seconds until a statement of a test is given up


class Session:
    """One connection that commits by itself, unless a statement begins a transaction."""

    def __init__(
        self, port: int, user: str, password: str, database: str | None, program: str, socket: Path | None = None
    ) -> None:
        place = {"unix_socket": str(socket)} if socket is not None else {"host": "127.0.0.1", "port": port}
        self._connection = pymysql.connect(
            **place,
            user=user,
            password=password.encode(),
            database=database,
            program_name=program,
            autocommit=True,
            connect_timeout=10,
            read_timeout=PATIENCE,
            cursorclass=pymysql.cursors.DictCursor,
        )
        self.id: int = self._connection.thread_id()
        self._waiting: threading.Thread | None = None
        self.error: pymysql.err.MySQLError | None = None

    def sql(self, *texts: str) -> list[dict[str, object]]:
        """The rows of the last of some statements."""
        rows: list[dict[str, object]] = []
        with self._connection.cursor() as cursor:
            for text in texts:
                cursor.execute(text)
                rows = list(cursor.fetchall())
        return rows

    def wait_with(self, text: str) -> Session:
        """Send a statement that does not come back soon, and go on; what it failed with is in `error` at its end."""

        def run() -> None:
            try:
                self.sql(text)
            except pymysql.err.MySQLError as error:
                self.error = error
            except (OSError, AttributeError, ValueError):  # it was closed meanwhile
                return

        self._waiting = threading.Thread(target=run, daemon=True)
        self._waiting.start()
        return self

    @property
    def is_waiting(self) -> bool:
        return self._waiting is not None and self._waiting.is_alive()

    def close(self) -> None:
        """Hang up, also while a statement is under way."""
        connection = self._connection
        with contextlib.suppress(OSError, AttributeError, ValueError, pymysql.err.MySQLError):
            if self.is_waiting:
                connection._sock.shutdown(sockets.SHUT_RDWR)
                self._waiting.join(5)
            else:
                connection.close()


def has_ended(sql: Callable[[str], list[dict[str, object]]], session: object) -> bool:
    """Whether a session is gone from the server."""
    return not sql(f"SELECT id FROM information_schema.processlist WHERE id = {session}")
