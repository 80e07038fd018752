"""An application's session on a real PostgreSQL, through psycopg: statements that end, and statements that wait."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from typing import Any

import psycopg

from servers.programs import wait_until


class Session:
    """One connection. A transaction is open from the first statement on, as with most drivers."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._parameters = parameters
        self._connection = psycopg.connect(**{"connect_timeout": 10, **parameters})
        self.pid = self._connection.info.backend_pid
        self._thread: threading.Thread | None = None
        self.error: psycopg.Error | None = None

    def autocommit(self) -> None:
        self._connection.autocommit = True

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        """Its rows."""
        cursor = self._connection.execute(statement)
        return cursor.fetchall() if cursor.description else []

    def start(self, statement: str) -> Session:
        """Let a statement run beside the test; `error` is what came of it, where that is one."""

        def run() -> None:
            try:
                self.run(statement)
            except psycopg.Error as error:
                self.error = error

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        return self

    def waits(self, kind: str = "Lock") -> Session:
        """Return when the server says that it waits so, such as for a `Lock` or, of type IPC, for `SyncRep`."""
        sql = f"select 1 from pg_stat_activity where pid = {self.pid} and '{kind}' in (wait_event_type, wait_event)"
        with psycopg.connect(**self._parameters, autocommit=True) as watcher:
            wait_until(lambda: watcher.execute(sql).fetchall(), f"session {self.pid} to wait for {kind}")
        return self

    def close(self) -> None:
        """End it, and the statement that is still under way."""
        if self._thread is not None and self._thread.is_alive():
            with contextlib.suppress(psycopg.Error):
                self._connection.cancel()
            self._thread.join(5)
        with contextlib.suppress(psycopg.Error):
            self._connection.close()
