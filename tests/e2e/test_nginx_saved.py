"""`opsdoc nginx` elsewhere: a saved `nginx -T`, copied logs, logs alone, and recordings come to the same verdict."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from servers import nginx_scenes as scenes
from servers.cli import Run
from servers.nginx import COMBINED, FIELDS, debian_nginx
from servers.nginx_looks import bad, look, served
from servers.nginx_scenes import Site


def upstream(run: Run) -> list[tuple[str, str, str]]:
    """What was found of the servers."""
    found = [finding for finding in run.findings if finding["rule"].startswith("upstream.")]
    return [(finding["rule"], finding["severity"], finding["summary"]) for finding in found]


# ── saved: a dump and copied logs ────────────────────────────────────────────────────────────────


@pytest.fixture
def elsewhere(opsdoc, nginx_site):
    """What was copied from a site with a dead server: `nginx -T`, access log and error log; and the site."""
    site = served(nginx_site(scenes.one_dead()), 60)
    folder = opsdoc.folder / "copied"
    folder.mkdir()
    dumped = subprocess.run([debian_nginx(), "-T", "-c", site.nginx.conf], capture_output=True, check=True)
    (folder / "dump.txt").write_bytes(dumped.stdout)
    shutil.copy(site.nginx.access_log, folder / "access.log")
    shutil.copy(site.nginx.error_log, folder / "error.log")
    return folder, site


def test_a_dump_and_copied_logs_give_the_verdict_of_the_machine(opsdoc, elsewhere):
    folder, site = elsewhere
    live = look(opsdoc, site, "--no-dial")
    logs = ("--log", folder / "access.log", "--error-log", folder / "error.log")
    saved = opsdoc.json("nginx", "--conf", folder / "dump.txt", *logs)
    assert upstream(saved) == upstream(live)
    assert (saved.code, live.code) == (1, 1)
    assert saved.of("upstream_server")[0]["place"] == live.of("upstream_server")[0]["place"]
    assert [u["detail"] for u in saved.unseen] == ["not dialled: no nginx that uses this configuration runs here"]

    lines = (folder / "access.log").read_bytes().splitlines(keepends=True)
    (folder / "access.log").write_bytes(b"".join(lines[40:]))
    (folder / "access.log.1").write_bytes(b"".join(lines[20:40]))
    with gzip.open(folder / "access.log.2.gz", "wb") as packed:
        packed.write(b"".join(lines[:20]))
    split = opsdoc.json("nginx", "--conf", folder / "dump.txt", *logs)
    assert split.of("access_log")[0]["rows"] == 60
    assert upstream(split) == upstream(live)
    with gzip.open(folder / "all.log.gz", "wb") as packed:
        packed.write(b"".join(lines))
    assert upstream(
        opsdoc.json("nginx", "--conf", folder / "dump.txt", "--log", folder / "all.log.gz", *logs[2:])
    ) == upstream(live)

    none = opsdoc.json("nginx", "--conf", folder / "dump.txt")
    assert (none.code, {one["rows"] for one in none.of("access_log")}) == (3, set()), "not the logs of this machine"
    assert none.finding("upstream.unknown")["severity"] == "unknown"


def test_logs_alone(opsdoc, elsewhere):
    folder, site = elsewhere
    text = re.sub(r" rt=\S+ ua=", " ua=", (folder / "access.log").read_text())
    (folder / "access.log").write_text(text)
    form = f"{COMBINED} {FIELDS.removeprefix('rt=$request_time ')}"
    logs = ("--log", folder / "access.log", "--error-log", folder / "error.log")
    run = opsdoc.json("nginx", *logs, "--log-format", form)
    assert {one["server"] for one in run.of("upstream_server")} == set(site.backends.addresses.values())
    assert f"{site.backends.addresses['a']} refuses connections: " in run.report["summary"]
    assert run.code == 1
    unknown = opsdoc.json("nginx", *logs)
    assert unknown.finding("log.other-format")["next_step"].startswith("say how it is written: --log-format")
    assert unknown.code == 3


def copied(opsdoc, site: Site) -> tuple[str | Path, ...]:
    """The options for copies of the logs, which no nginx here writes to."""
    logs = (site.nginx.access_log, site.nginx.error_log)
    access, error = (shutil.copy(log, opsdoc.folder / log.name) for log in logs)
    return ("--log", access, "--error-log", error)


@pytest.mark.parametrize("form", ["combined", "json"])
def test_a_log_without_servers_gives_a_degraded_answer_and_the_line_that_ends_it(opsdoc, nginx_site, form):
    """The line is added to a real nginx, which accepts it, and is recognised without a configuration, too."""
    brief = """log_format brief escape=json '{"at":"$time_iso8601","status":"$status","agent":"$http_user_agent"}';"""
    scene = scenes.one_dead() if form == "combined" else scenes.one_dead()._replace(
        http=brief + scenes.one_dead().http.replace("listen", "access_log <here>/access.log brief; listen")
    )  # fmt: skip
    site = served(nginx_site(scene, log="combined"), 30)
    run = look(opsdoc, site)
    degraded = run.finding("log.no-upstream")
    assert "lacks $upstream_addr and $upstream_status" in degraded["summary"]
    (server, *_) = run.of("upstream_server")
    assert server["unknown"]["attempts"] == "the access log does not say which server was tried"
    assert run.finding("upstream.down")["summary"].startswith(site.backends.addresses["a"]), "by the probe"

    line = re.search(r"log_format (\S+) .*;(?= and use it)", degraded["next_step"])
    use = f"{line[0]}\naccess_log <here>/second.log {line[1]};\n"
    site.nginx.rewrite(use + scene.http.replace("access_log <here>/access.log brief;", ""))
    site.nginx.reload()
    site.nginx.access_log = site.nginx.folder / "second.log"
    site.nginx.request("/", 30, headers={"User-Agent": scenes.HOSTILE_AGENT})
    site.nginx.log_written(30)
    again = look(opsdoc, site)
    assert "log.no-upstream" not in {finding["rule"] for finding in again.findings}
    assert [(one["rows"], one["unread"], one["missing"]) for one in again.of("access_log") if one["rows"] == 30] == [
        (30, 0, [])
    ]
    assert sum(one["attempts"] for one in again.of("upstream_server")) >= 31
    if form == "combined":
        alone = opsdoc.json("nginx", *copied(opsdoc, site))
        assert f"{site.backends.addresses['a']} refuses connections" in alone.report["summary"]
        assert alone.code == 1


def test_logs_alone_without_servers_are_degraded_and_never_green(opsdoc, nginx_site):
    site = served(nginx_site(scenes.single_dead(), log="combined"))
    logs = copied(opsdoc, site)
    run = opsdoc.json("nginx", *logs[:2])
    assert (run.code, bad(run)) == (1, ["log.no-upstream"])
    errors = opsdoc.json("nginx", *logs)
    words = f"{site.backends.addresses['a']} refuses connections: 40 lines in the error log"
    assert errors.finding("upstream.failing")["summary"].startswith(words)
    assert errors.code == 1
    assert upstream(opsdoc.json("nginx", *logs[2:])) == upstream(errors), "the error log alone tells it, too"
    there = opsdoc.json("nginx", "--log", site.nginx.access_log)
    assert there.of("nginx")[0]["pid"] == site.nginx.pid, "a log of an nginx that runs here is judged with it"


# ── recorded ─────────────────────────────────────────────────────────────────────────────────────


def test_a_recording_comes_to_the_same_report_elsewhere(opsdoc, opsdoc_as_nobody, nginx_site):
    site = served(nginx_site(scenes.status_page()))
    site.backends.mode("a", "nolisten")
    served(site, 20)
    live = look(opsdoc, site, "--record", "case.tar.gz")
    assert live.code == 2
    copied = opsdoc_as_nobody.folder / "case.tar.gz"
    shutil.copy(opsdoc.folder / "case.tar.gz", copied)
    shutil.chown(copied, opsdoc_as_nobody.user)
    pid = site.nginx.pid
    site.nginx.stop()
    site.backends.stop()
    again = opsdoc_as_nobody.json("nginx", "--replay", "case.tar.gz")
    same = [{name: value for name, value in run.report.items() if name != "cost"} for run in (live, again)]
    assert same[0] == same[1]
    assert again.of("nginx")[0]["pid"] == pid
