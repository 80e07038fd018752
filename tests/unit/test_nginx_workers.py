"""nginx's own processes, and what was read of its access logs."""

from __future__ import annotations

import pytest

from opsdoc.model import Severity, Unknown, Unseen
from opsdoc.signals import access_log, nginx_workers
from opsdoc.signals.access_log import AccessLogRead, log_format_line
from opsdoc.signals.nginx_workers import Nginx
from opsdoc.signals.peers import UpstreamGroup

GROUP = UpstreamGroup(id="g", subject="backend", requests=10)


def nginx(**more):
    given = {
        "id": "n1",
        "subject": "nginx 1.22.1 pid 812",
        "pid": 812,
        "config": "/etc/nginx/nginx.conf",
        "workers": 2,
        "used": 0.1,
        "connections": 100,
        "worker_connections": 1024,
        "refused_connections": 0,
        "error_log": "/var/log/nginx/error.log",
    }
    return Nginx(**{**given, **more})


def judged(*observations):
    return {f.rule: f for f in nginx_workers.judge(list(observations), [], nginx_workers.Limits())}


@pytest.mark.parametrize(
    ("more", "severity", "limit"),
    [
        ({"used": 0.5}, "ok", None),
        ({"used": 0.75, "connections": 768}, "warning", "nginx_workers.used"),
        ({"used": 0.95, "connections": 970}, "critical", "nginx_workers.used"),
        ({"refused_connections": 4}, "critical", "nginx_workers.refused"),
        ({"used": Unknown("needs root"), "connections": None}, "ok", None),
    ],
)
def test_connections(more, severity, limit):
    found = judged(nginx(**more))["workers.connections"]
    assert found.severity.word == severity
    assert (found.threshold.name if found.threshold else None) == limit


def test_refused_connections_are_counted_and_shown_by_hand():
    found = judged(nginx(refused_connections=4))["workers.connections"]
    assert found.summary.startswith("4 connections refused: worker_connections are not enough; the busiest worker of ")
    assert "tail -n 10000 /var/log/nginx/error.log | grep -cF 'worker_connections are not enough'" in found.by_hand


def test_connections_that_nobody_could_count_are_unknown():
    hidden = nginx(used=Unknown("descriptors need root"), refused_connections=Unknown("no error log"))
    found = judged(hidden)["workers.connections"]
    assert found.severity is Severity.UNKNOWN
    assert "descriptors need root" in found.summary


def test_idle_connections_that_were_closed_to_make_room_are_a_warning():
    found = judged(nginx(reused_connections=3))["workers.connections"]
    assert found.severity is Severity.WARNING
    assert found.summary.startswith("3 times idle connections closed to make room; the busiest worker of ")
    assert "idle connections" not in judged(nginx(reused_connections=3, refused_connections=1))["workers.connections"]


def test_connections_that_the_status_page_counts_as_dropped():
    old = judged(nginx(dropped=7, started="2026-11-22T21:35:48+00:00"))["workers.dropped"]
    assert old.severity is Severity.OK
    assert "7 connections dropped since nginx 1.22.1 pid 812 started (2026-11-22T21:35:48+00:00)" in old.summary
    assert old.summary.endswith("none in this time")
    unsure = judged(nginx(dropped=7, refused_connections=Unknown("no log was read")))["workers.dropped"]
    assert unsure.severity is Severity.WARNING
    assert "workers.dropped" not in judged(nginx(dropped=7, refused_connections=4))
    assert "workers.dropped" not in judged(nginx(dropped=0))


def test_a_configuration_that_could_not_be_read_is_unknown_and_nothing_else_is_said():
    why = Unseen("configuration /etc/nginx/nginx.conf", "denied", "not permitted to read it", "sudo opsdoc nginx")
    (found,) = nginx_workers.judge([nginx(config_read=False)], [why], nginx_workers.Limits())
    assert (found.rule, found.severity) == ("workers.no-config", Severity.UNKNOWN)
    assert found.summary.endswith("its configuration could not be read: not permitted to read it")
    assert found.next_step == "sudo opsdoc nginx"


def test_descriptors():
    assert judged(nginx(fds=950, fd_limit=1024))["workers.descriptors"].severity is Severity.CRITICAL
    assert judged(nginx(fds=95, fd_limit=1024))["workers.descriptors"].severity is Severity.OK
    assert "workers.descriptors" not in judged(nginx(fds=Unknown("needs root"), fd_limit=1024))


def test_workers_that_shut_down_for_long():
    old = nginx(shutting_down=2, oldest_shutdown=5400.0, old_pids=(813, 814))
    found = judged(old)["workers.shutting-down"]
    assert found.severity is Severity.WARNING
    assert "2 workers of nginx 1.22.1 pid 812 shut down for 90 min" in found.summary
    assert "no worker_shutdown_timeout" in found.summary
    assert found.by_hand == ("ss -tnp | grep -F pid=813,", "ss -tnp | grep -F pid=814,")
    assert judged(old.replaced(oldest_shutdown=30.0))["workers.shutting-down"].severity is Severity.OK
    assert "workers.shutting-down" not in judged(nginx())


def test_a_configuration_that_is_newer_than_the_workers():
    found = judged(nginx(config_changed=7200.0, changed_file="/etc/nginx/sites/shop.conf"))["workers.config-newer"]
    assert found.severity is Severity.WARNING
    assert found.summary.startswith("/etc/nginx/sites/shop.conf was changed 2 h after the workers of ")
    assert "workers.config-newer" not in judged(nginx())


def test_one_worker_that_works_for_all():
    assert judged(nginx(cpu=(0.98, 0.02, 0.03)))["workers.uneven"].severity is Severity.WARNING
    assert judged(nginx(cpu=(0.98, 0.9)))["workers.uneven"].severity is Severity.OK
    assert judged(nginx(cpu=(0.3, 0.0)))["workers.uneven"].severity is Severity.OK
    assert "workers.uneven" not in judged(nginx(cpu=(0.98,)))


def test_that_none_runs_is_unknown_unless_a_log_proves_that_one_did():
    assert judged() == {}
    assert judged(GROUP)["workers.none"].severity is Severity.OK
    assert judged(GROUP.replaced(requests=0))["workers.none"].severity is Severity.UNKNOWN
    assert judged(GROUP.replaced(requests=Unknown("no log")))["workers.none"].severity is Severity.UNKNOWN
    assert "workers.none" not in judged(GROUP, nginx())


# ── access logs ──────────────────────────────────────────────────────────────────────────────────

PATH = "/var/log/nginx/access.log"


def log(**more):
    return AccessLogRead(**{"id": "l1", "subject": PATH, "rows": 1000, **more})


def read(*observations):
    return {f.rule: f for f in access_log.judge(list(observations), [], access_log.Limits())}


def test_a_format_without_servers_gives_a_degraded_answer_and_the_exact_line():
    poor = log(missing=("upstream_addr", "upstream_status", "request_time"), place="nginx.conf:20")
    found = read(GROUP, poor)["log.no-upstream"]
    assert found.severity is Severity.WARNING
    assert "which server failed is judged by error log and probe alone: format combined of " in found.summary
    assert "lacks $upstream_addr and $upstream_status" in found.summary
    assert found.next_step == (
        'add in http: log_format combined_upstream \'$remote_addr - $remote_user [$time_local] "$request" $status '
        '$body_bytes_sent "$http_referer" "$http_user_agent" rt="$request_time" ua="$upstream_addr" '
        'us="$upstream_status" urt="$upstream_response_time" uct="$upstream_connect_time" '
        'uht="$upstream_header_time" cs="$upstream_cache_status" lrs="$limit_req_status" '
        'lcs="$limit_conn_status"\' and use it: access_log /var/log/nginx/access.log combined_upstream;'
    ).replace("\"' and", "\"'; and")
    assert "log.read" not in read(GROUP, poor)
    assert "log.no-upstream" not in read(poor)  # nothing is proxied
    assert "log.no-upstream" not in read(GROUP, log(missing=("upstream_header_time",)))


def test_logs_without_a_configuration_are_degraded_too_and_foreign_ones_only_foreign():
    lacks = {"missing": ("upstream_addr", "upstream_status"), "configured": False}
    assert "log.no-upstream" in read(log(**lacks))
    foreign = read(log(**lacks, rows=0, unread=900))
    assert set(foreign) == {"log.other-format"}
    assert foreign["log.other-format"].next_step.startswith("say how it is written: --log-format")


def test_where_no_log_was_read_that_is_a_warning():
    found = read(GROUP)["log.none"]
    assert found.severity is Severity.WARNING
    assert "a server that answers 5xx or slowly is not seen" in found.summary
    denied = Unseen("/var/log/nginx/access.log", "denied", "not permitted to read it", "sudo opsdoc nginx")
    (told,) = access_log.judge([GROUP], [denied], access_log.Limits())
    assert told.next_step == "sudo opsdoc nginx"
    assert read() == {}


def test_of_several_logs_some_may_tell():
    found = read(GROUP, log(), log(id="l2", missing=("upstream_addr",), log_format="log_format mine '…';"))
    assert found["log.no-upstream"].summary.startswith("for a part of the requests which server failed is judged by")
    assert found["log.no-upstream"].next_step.endswith("access_log /var/log/nginx/access.log mine;")
    assert found["log.read"].summary == "1,000 lines of 1 access log read"


def test_lines_that_are_not_of_the_format():
    found = read(log(unread=100))["log.unread"]
    assert found.severity is Severity.WARNING
    assert found.summary == f"100 lines of {PATH} (9.1 %) are not of the format combined, and were left out"
    found = read(log(rows=10, unread=990, place="nginx.conf:20"))["log.other-format"]
    assert found.severity is Severity.UNKNOWN
    assert "is not written in the format combined that is configured for it (nginx.conf:20): 99 %" in found.summary
    assert list(read(log(unread=1))) == ["log.read"]
    assert read(log(rows=Unknown("denied"), unread=Unknown("denied"))) == {}


def test_a_log_that_was_read_in_part_says_from_when_on():
    found = read(log(capped=True, first="2026-11-22T21:35:48Z"))["log.capped"]
    assert found.severity is Severity.OK
    assert "from 2026-11-22T21:35:48Z on" in found.summary


def test_the_line_keeps_what_is_there_and_adds_what_this_version_has():
    line = log_format_line("main", "$remote_addr ua=$upstream_addr", version=(1, 6, 0))
    assert line == (
        'log_format main_upstream \'$remote_addr ua=$upstream_addr rt="$request_time" us="$upstream_status" '
        'urt="$upstream_response_time" cs="$upstream_cache_status"\';'
    )
    json = log_format_line("json", '{"t":"$time_iso8601","s":"$status"}', "json", (1, 9, 0))
    assert json.startswith('log_format json_upstream escape=json \'{"t":"$time_iso8601","s":"$status","request_')
    assert json.endswith('"upstream_cache_status":"$upstream_cache_status"}\';')
    assert "$upstream_addr" in log_format_line("x", "$upstream_addr_of_mine")
    assert "it\\'s" in log_format_line("a b", "it's")
