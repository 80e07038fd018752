"""Recordings of MySQL 5.7, 8.0 and 8.4 that no server made: written from its manual, for want of one.

`python tests/recordings/mysql_by_the_manual.py` writes them; their names end in `by-the-manual`. What is asked, and in
which order, is taken from opsdoc itself; what is answered has the columns of the manual's chapters on SHOW REPLICA
STATUS and on the tables of performance_schema for replication.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

from neutral import HOSTNAME, KERNEL  # noqa: E402

from opsdoc.clients.mysql import Ask, Target  # noqa: E402
from opsdoc.clients.sql import Statement  # noqa: E402
from opsdoc.looks import mysql_contention, mysql_statements  # noqa: E402
from opsdoc.looks.mysql_watch import SETTINGS, Look, Said, Watched  # noqa: E402

Rows = Sequence[Mapping[str, Any]]

A, B = "3e11fa47-71ca-11e1-9e33-c80aa9429562", "4350f323-7565-4e59-8763-4b1b83a0ce0e"
WINDOW = 2.0
IDLE = "Replica has read all relay log; waiting for more updates"
ACCOUNT = {"account": "monitor@10.0.0.%"}


class Server(NamedTuple):
    """What a server answers, by the name of the statement, at both ends of the window."""

    address: str
    version: str
    uuid: str
    answers: Mapping[str, Rows]

    @property
    def settings(self) -> Rows:
        host, _, port = self.address.rpartition(":")
        told = {
            "version": self.version, "version_comment": "MySQL Community Server - GPL", "hostname": host, "port": port,
            "server_id": host.rpartition(".")[2], "server_uuid": self.uuid, "read_only": "OFF", "log_bin": "ON",
            "super_read_only": "OFF", "max_connections": "151", "performance_schema": "ON",
        }  # fmt: skip
        return [{"Variable_name": name, "Value": value} for name, value in sorted(told.items())]

    def watched(self) -> Watched:
        made = Watched(Target.of(f"mysql://monitor@{self.address}/"))
        made.settings = {row["Variable_name"]: row["Value"] for row in self.settings}
        return made


def replica(**changes: Any) -> dict[str, Any]:
    """A row of SHOW REPLICA STATUS of 8.4 (16.3 of the manual has its columns) of one that is well."""
    return {
        "Replica_IO_State": "Waiting for source to send event", "Source_Host": "10.0.0.1", "Source_User": "repl",
        "Source_Port": 3306, "Connect_Retry": 60, "Source_Log_File": "binlog.000012", "Read_Source_Log_Pos": 48210,
        "Relay_Log_File": "relay-bin.000021", "Relay_Log_Pos": 48426, "Relay_Source_Log_File": "binlog.000012",
        "Replica_IO_Running": "Yes", "Replica_SQL_Running": "Yes", "Last_Errno": 0, "Last_Error": "",
        "Exec_Source_Log_Pos": 48210, "Relay_Log_Space": 48800, "Seconds_Behind_Source": 0, "Last_IO_Errno": 0,
        "Last_IO_Error": "", "Last_SQL_Errno": 0, "Last_SQL_Error": "", "Source_Server_Id": 1, "Source_UUID": A,
        "SQL_Delay": 0, "SQL_Remaining_Delay": None, "Replica_SQL_Running_State": IDLE, "Source_Retry_Count": 86400,
        "Retrieved_Gtid_Set": f"{A}:1-500", "Executed_Gtid_Set": f"{A}:1-500", "Auto_Position": 1, "Channel_Name": "",
        **changes,
    }  # fmt: skip


def common(uuid: str, executed: str, sessions: Rows = ()) -> dict[str, Rows]:
    status = {"Threads_connected": "6", "Threads_running": "2", "Uptime": "864000", "Innodb_history_list_length": "12"}
    return {
        "replication": [{"server_id": 1, "port": 3306, "log_bin": 1, "uuid": uuid, "executed": executed}],
        "binlogs": [
            {"Log_name": "binlog.000011", "File_size": 1073741900, "Encrypted": "No"},
            {"Log_name": "binlog.000012", "File_size": 48210, "Encrypted": "No"},
        ],
        "status": [{"Variable_name": name, "Value": value} for name, value in status.items()],
        "sessions": [
            {"id": 90, "user": "monitor", "host": "10.0.0.9:50112", "db": None, "command": "Query",
             "state": "executing", "seconds": 0, "statement": "SELECT ?", **ACCOUNT},
            *({**session, **ACCOUNT} for session in sessions),
        ],
        "transactions": [
            {"counter": "trx_rseg_history_len", "value": 12},
            {"counter": "lock_deadlocks", "value": 0},
        ],
    }  # fmt: skip


APPLIER = {"id": 8, "user": "system user", "host": "", "db": None, "command": "Query", "state": IDLE, "seconds": 5,
           "statement": None}  # fmt: skip
DUMP = {"id": 31, "user": "repl", "host": "10.0.0.2:48010", "db": None, "command": "Binlog Dump GTID",
        "state": "Source has sent all binlog to replica; waiting for more updates", "seconds": 86000,
        "statement": None}  # fmt: skip
LINK = {
    "channel": "",
    "heartbeats": 2871,
    "period": 30.0,
    "heartbeat_age": 12.4,
    "queued_age": 44.0,
    "queued": f"{A}:500",
}
WORKER = {"channel": "", "applied": f"{A}:500", "applying": "", "applied_age": 44.1, "applying_age": None}


def source_84() -> Server:
    told = {**common(A, f"{A}:1-500", [DUMP]), "replica": []}
    return Server("10.0.0.1:3306", "8.4.3", A, told)


def replica_84() -> Server:
    told = {
        **common(B, f"{A}:1-500", [APPLIER]),
        "replica": [replica()],
        "links": [LINK],
        "appliers": [WORKER],
    }
    return Server("10.0.0.2:3306", "8.4.3", B, told)


def sql_stopped_84() -> Server:
    """Its SQL thread was stopped a quarter of an hour ago."""
    stopped = replica(
        Replica_SQL_Running="No",
        Seconds_Behind_Source=None,
        Replica_SQL_Running_State="",
        Executed_Gtid_Set=f"{A}:1-470",
        Exec_Source_Log_Pos=30000,
    )
    told = {
        **common(B, f"{A}:1-470"),
        "replica": [stopped],
        "links": [LINK],
        "appliers": [{**WORKER, "applied": f"{A}:470", "applied_age": 905.0}],
    }
    return Server("10.0.0.2:3306", "8.4.3", B, told)


def one_long_transaction() -> Server:
    """8.0, whose applier is at one transaction since an hour, for which it tells 0."""
    told = {
        **common(B, f"{A}:1-500", [{**APPLIER, "state": "Applying batch of row changes (update)", "seconds": 3610}]),
        "replica": [
            replica(
                Retrieved_Gtid_Set=f"{A}:1-501",
                Read_Source_Log_Pos=700_048_210,
                Relay_Log_Space=700_048_800,
                Replica_SQL_Running_State="Applying batch of row changes (update)",
            )
        ],
        "links": [{**LINK, "heartbeat_age": 3.2, "queued": f"{A}:501"}],
        "appliers": [{**WORKER, "applying": f"{A}:501", "applying_age": 3608.0}],
    }
    return Server("10.0.0.2:3306", "8.0.36", B, told)


def row_not_found_57() -> Server:
    """5.7, with the old names, and without times of transactions."""
    error = (
        "Could not execute Update_rows event on table app.orders; Can't find record in 'orders', Error_code: 1032; "
        "handler error HA_ERR_KEY_NOT_FOUND; the event's master log binlog.000012, end_log_pos 48210"
    )
    row = replica(
        Replica_SQL_Running="No",
        Seconds_Behind_Source=None,
        Exec_Source_Log_Pos=40000,
        Executed_Gtid_Set=f"{A}:1-480",
        Last_SQL_Errno=1032,
        Last_SQL_Error=error,
        Replica_SQL_Running_State="",
    )
    old = {name.replace("Replica", "Slave").replace("Source", "Master"): value for name, value in row.items()}
    told = {
        **common(B, f"{A}:1-480"),
        "replica": [old],
        "links": [{name: value for name, value in LINK.items() if not name.startswith("queued")}],
    }
    return Server("10.0.0.2:3306", "5.7.44-log", B, told)


SCENES: Mapping[str, tuple[Server, ...]] = {
    "mysql-8.4-well-by-the-manual": (replica_84(), source_84()),
    "mysql-8.4-replica-alone-by-the-manual": (replica_84(),),
    "mysql-8.4-sql-stopped-by-the-manual": (sql_stopped_84(), source_84()),
    "mysql-8.0-one-long-transaction-by-the-manual": (one_long_transaction(),),
    "mysql-5.7-row-not-found-by-the-manual": (row_not_found_57(),),
}


def recording(servers: Sequence[Server]) -> dict[str, Any]:
    """The recording in which they answer so."""
    machine = {
        "hostname": HOSTNAME, "kernel": KERNEL, "cpus": 2, "memory_bytes": 8 << 30,
        "boot_time": "2026-11-28T10:25:35+00:00", "virtualization": "virtual machine",
    }  # fmt: skip
    answers: dict[str, list[dict[str, Any]]] = {"proc.machine": [{"at": 0.003, "took": 0.001, "answer": machine}]}

    def say(server: Server, at: float, statements: Sequence[Statement], told: Mapping[str, Rows]) -> None:
        session = {"id": 90, "version": server.version, "statements": 2 + len(statements), "seconds": 0.004}
        rows = {one.name: list(told.get(one.name, ())) for one in statements}
        answer = {"rows": {**rows, "session": [session]}, "errors": {}, "refused": None}
        key = Ask(server.watched().target, tuple(statements)).key()
        answers.setdefault(key, []).append({"at": at, "took": 0.004, "answer": answer})

    for server in servers:
        one = server.watched()
        say(server, 0.01, (mysql_statements.TABLES,), {})
        say(server, 0.02, (SETTINGS,), {SETTINGS.name: server.settings})
        asked = (*mysql_statements.first(one.version, None, mariadb=False), *mysql_contention.first(one))
        say(server, 0.03, asked, server.answers)
        one.looks.append(Look(0.03, Said({}, {})))
        asked = (*mysql_statements.last(one.version, None, mariadb=False), *mysql_contention.last(one))
        say(server, 0.05 + WINDOW, asked, server.answers)
    answers["sleep"] = [{"at": 0.04, "took": WINDOW, "answer": None}]
    options = {
        "dsn": [f"mysql://monitor@{server.address}/" for server in servers], "writer": None, "user": None,
        "password_env": None, "password_file": None, "tls_ca": None, "window": WINDOW, "rows": 5,
    }  # fmt: skip
    return {
        "format": "opsdoc.recording/1", "tool": "0.1.0", "probe": "db.mysql", "options": options, "cut_short": None,
        "started": "2026-11-28T14:00:00+00:00", "redactions": {}, "answers": answers,
    }  # fmt: skip


if __name__ == "__main__":
    for name, servers in SCENES.items():
        folder = HERE / "db.mysql" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "recording.json").write_text(json.dumps(recording(servers), indent=1) + "\n")
