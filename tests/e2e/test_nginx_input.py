"""`opsdoc nginx` on whatever it finds: configurations and logs of any kind, no rights and too many, containers."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import pytest
from servers import containers, users
from servers import nginx_scenes as scenes
from servers.cli import Run
from servers.nginx import debian_nginx
from servers.nginx_looks import bad, look, served
from servers.programs import lacking, wait_until

# ── configurations ───────────────────────────────────────────────────────────────────────────────


def test_debians_default_configuration(opsdoc, nginx_site):
    site = nginx_site(scenes.healthy())
    debian = Path("/etc/nginx")
    if not (debian / "sites-available/default").exists():
        lacking("no default configuration of Debian (apt-get install nginx)")
    folder = opsdoc.folder / "nginx"
    shutil.copytree(debian, folder, ignore=shutil.ignore_patterns("modules-enabled"), symlinks=False)
    for path in folder.rglob("*"):
        if path.is_file():
            text = path.read_text(errors="surrogateescape").replace("/etc/nginx", str(folder))
            text = text.replace("/var/log/nginx", str(site.nginx.folder)).replace("/run/nginx.pid", f"{folder}/pid")
            text = text.replace("listen [::]:80 default_server;", "").replace(
                "listen 80", f"listen 127.0.0.1:{site.nginx.port}"
            )
            text = re.sub(r"^user .*;$|^worker_processes .*;$", "", text, flags=re.MULTILINE)
            path.write_text(text, errors="surrogateescape")
    shutil.copy(folder / "nginx.conf", site.nginx.conf)
    main = site.nginx.conf.read_text().replace("include mime.types", f"include {folder}/mime.types")
    site.nginx.conf.write_text(f"worker_processes 2;\n{main}")
    site.nginx.reload()
    run = look(opsdoc, site)
    assert (run.code, bad(run)) == (0, [])
    assert "the configuration names no server that requests are passed on to" in run.report["summary"]
    saved = opsdoc.json("nginx", "--conf", folder / "nginx.conf")
    assert saved.code in (0, 3)
    assert not [unseen for unseen in saved.unseen if unseen["reason"] == "internal"]


LUA = """
init_by_lua_block { local braces = "}}}" -- and a comment {
}
"""
UNKNOWN = "frobnicate on; vhost_traffic_status_zone shared:x:1m; map $a $b { default 1; ~^x 2; } "
INNER = 'content_by_lua_block { ngx.say("{ not a block") } more_set_headers "X: 1"; '


def test_lua_and_unknown_directives_are_passed_over(opsdoc, nginx_site):
    site = served(nginx_site(scenes.one_dead()))
    text = site.nginx.conf.read_text()
    strange = text.replace("upstream app", f"{LUA}{UNKNOWN}\nupstream app").replace("proxy_pass", f"{INNER}proxy_pass")
    conf = opsdoc.folder / "strange.conf"
    conf.write_text(strange)
    logs = ("--log", site.nginx.access_log, "--error-log", site.nginx.error_log)
    assert strange != text
    run = opsdoc.json("nginx", "--conf", conf, *logs)
    assert (run.code, run.unseen[:-1]) == (1, [])
    plain = look(opsdoc, site, "--no-dial").finding("upstream.down")
    assert run.finding("upstream.down")["summary"] == plain["summary"]


def test_five_thousand_upstreams(opsdoc, nginx_site):
    site = nginx_site(scenes.one_dead())
    groups = "".join(
        f"upstream g{n} {{ server 127.{1 + n // 250}.{n % 250}.1:1; server 127.{1 + n // 250}.{n % 250}.2:1; }}\n"
        for n in range(5000)
    )
    locations = "".join(f"location /{n}/ {{ proxy_pass http://g{n}; }}\n" for n in range(5000))
    site.nginx.rewrite(f"{groups} server {{ listen 127.0.0.1:<port>; {locations} }}")
    site.nginx.reload()
    assert site.nginx.request([f"/{n}/" for n in range(0, 5000, 100)], 50) == [502] * 50
    site.nginx.log_written()
    run = look(opsdoc, site)
    assert (run.code, run.stderr) == (2, "")
    assert run.wall < 20
    assert run.report["results"][0]["total"]["upstream_group"] == 5000
    assert run.report["results"][0]["total"]["upstream_server"] == 10_000
    assert [u["subject"] for u in run.unseen] == ["9936 of 10000 servers"]
    assert len([f for f in run.findings if f["rule"] == "upstream.all-down"]) == 11, (
        "ten, and one that sums up the rest"
    )
    dialled = {one["group"] for one in run.of("upstream_server") if one["probed"]}
    assert len(dialled & {f"g{n}" for n in range(0, 5000, 100)}) >= 32, "those with failures are dialled first"


BROKEN = {
    "a semicolon is missing": ("server <b>;", "server <b>", ' has no ";" before line '),
    "a brace is missing": ("}\n}", "}", 'the text ends before the "}" of the block that begins here'),
    "a brace too many": ("upstream app", "}\nupstream app", 'unexpected "}"'),
    "no number": ("server <b>;", "server <b> weight=many;", "server: not a number or time: 'weight=many'"),
    "an include that is not there": (
        "upstream app",
        "include /nowhere/x.conf;\nupstream app",
        "cannot read /nowhere/x.conf",
    ),
    "binary": ("upstream app", "\x00\x01upstream app", "not text: here is a NUL byte"),
}


@pytest.mark.parametrize(("old", "new", "words"), BROKEN.values(), ids=BROKEN)
def test_a_configuration_that_nginx_would_refuse(opsdoc, nginx_site, old, new, words):
    site = served(nginx_site(scenes.one_dead()))
    good, text = site.nginx.conf.read_text(), ""
    for name, address in site.backends.addresses.items():
        old, new = old.replace(f"<{name}>", address), new.replace(f"<{name}>", address)
    text = new.join(good.rsplit(old, 1))
    assert text != good
    site.nginx.conf.write_text(text)
    checked = subprocess.run([debian_nginx(), "-t", "-c", site.nginx.conf], capture_output=True, text=True, check=False)
    assert checked.returncode == 1, "nginx refuses it, too"
    run = look(opsdoc, site)
    told = [unseen for unseen in run.unseen if words in unseen["detail"]]
    assert told, run.unseen
    assert re.fullmatch(rf"{site.nginx.conf}:\d+", told[0]["subject"])
    assert told[0]["reason"] == "malformed"
    if "\0" not in new:  # what could be read is used
        assert "upstream.down" in bad(run)
    assert run.code in (1, 3)


def test_no_nginx_and_names_of_nothing(opsdoc):
    run = opsdoc.json("nginx", "--pid", os.getpid())
    assert (run.code, run.unseen[0]["detail"]) == (3, f"process {os.getpid()} is no master of nginx")
    for args in (("--conf", "/nowhere.conf"), ("--log", "/nowhere.log"), ("--conf", "/")):
        wrong = opsdoc("nginx", *args)
        assert (wrong.code, wrong.stdout) == (64, "")
        assert wrong.stderr.startswith(f"opsdoc: cannot read {args[1]}: ")
        assert wrong.stderr.count("\n") == 1


def test_of_several_nginx_the_others_are_named(opsdoc, nginx_site):
    sites = [nginx_site(scenes.healthy()) for _ in range(2)]
    run = opsdoc.json("nginx", "--no-dial")
    hints = {unseen["hint"] for unseen in run.unseen if unseen["detail"].startswith("more than one nginx runs here")}
    assert len(hints & {f"opsdoc nginx --pid {site.nginx.pid}" for site in sites}) >= 1
    chosen = opsdoc.json("nginx", "--conf", sites[1].nginx.conf)
    assert chosen.of("nginx")[0]["pid"] == sites[1].nginx.pid


# ── logs of any kind ─────────────────────────────────────────────────────────────────────────────


def test_logs_that_are_not_what_they_should_be(opsdoc, nginx_site):
    site = served(nginx_site(scenes.healthy()))
    log, whole = site.nginx.access_log, site.nginx.access_log.read_bytes()

    def read(data: bytes) -> Run:
        log.write_bytes(data)
        run = look(opsdoc, site)
        assert run.code in (0, 1, 3)
        return run

    binary = read(bytes(range(256)) * 400)
    assert [(u["subject"], u["reason"]) for u in binary.unseen] == [(str(log), "malformed")]
    assert "no line has a time" in binary.unseen[0]["detail"]
    empty = read(b"")
    assert [(one["rows"], one["unread"]) for one in empty.of("access_log")] == [(0, 0)]
    assert empty.code == 0, "all servers connect"
    cut = read(whole[:-40])
    assert [(one["rows"], one["unread"]) for one in cut.of("access_log")] == [(39, 1)]
    assert cut.of("upstream_group")[0]["requests"] == 39
    foreign = read(re.sub(rb" rt=.*\n", b"\n", whole))
    found = foreign.finding("log.other-format")
    assert (
        f"{log} is not written in the format opsdoc that is configured for it ({site.nginx.conf}:" in found["summary"]
    )
    assert foreign.code == 3
    mixed = read(whole + b"some other program wrote this\n" * 4)
    assert "4 lines of" in mixed.finding("log.unread")["summary"]
    assert mixed.code == 1


def test_a_log_that_is_rotated_is_read_on_both_sides(opsdoc, nginx_site):
    site = served(nginx_site(scenes.one_dead()), 30)
    site.nginx.access_log.rename(site.nginx.folder / "access.log.1")
    site.nginx.error_log.rename(site.nginx.folder / "error.log.1")
    site.nginx.request("/", 3)  # nginx still writes to the renamed ones
    os.kill(site.nginx.pid, signal.SIGUSR1)
    wait_until(site.nginx.access_log.exists, "nginx to open its logs again")
    wait_until(lambda: all(_writes_to(pid, site.nginx.access_log) for pid in site.nginx.workers()), "its workers, too")
    site.nginx.request("/", 20)
    site.nginx.log_written(20)
    run = look(opsdoc, site)
    assert run.of("access_log")[0]["rows"] == 53
    (server,) = [one for one in run.of("upstream_server") if one["server"] == site.backends.addresses["a"]]
    assert server["failures"] == {"refused": server["attempts"]}
    assert server["error_log"] == {"refused": server["attempts"]}


def _writes_to(pid: int, path: Path) -> bool:
    return any(os.path.samefile(fd, path) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.exists())


# ── asked, and not asked ─────────────────────────────────────────────────────────────────────────


def test_servers_are_connected_to_once_and_asked_only_when_told(opsdoc, nginx_site):
    site = served(nginx_site(scenes.pair("err503", "ok")), 4)
    before = site.backends.counts("a")
    off = look(opsdoc, site, "--no-dial")
    assert site.backends.counts("a") == before
    assert {one["unknown"]["probed"] for one in off.of("upstream_server")} == {"not dialled, as told by --no-dial"}
    look(opsdoc, site)
    after = site.backends.counts("a")
    assert (after.connections - before.connections, after.requests) == (1, before.requests)
    asked = look(opsdoc, site, "--http-path", "/health")
    assert site.backends.counts("a").requests == before.requests + 1
    probed = {one["server"]: one["probed"] for one in asked.of("upstream_server")}
    assert probed == {site.backends.addresses["a"]: "http 503", site.backends.addresses["b"]: "http 200"}


# ── without rights, and with too many ────────────────────────────────────────────────────────────


def test_files_without_permission_are_unseen_with_what_would_help(opsdoc_as_nobody, nginx_site):
    site = served(nginx_site(scenes.one_dead()))
    for log in (site.nginx.access_log, site.nginx.error_log):
        log.chmod(0o600)
        os.chown(log, 0, 0)
    logs = look(opsdoc_as_nobody, site)
    assert {u["subject"] for u in logs.unseen if u["reason"] == "denied"} >= {
        str(site.nginx.access_log), str(site.nginx.error_log)
    }  # fmt: skip
    assert all(u["hint"].startswith("sudo ") for u in logs.unseen if u["subject"] == str(site.nginx.access_log))
    assert "refuses connections" in logs.finding("upstream.down")["summary"], "the probe sees it all the same"
    assert logs.finding("log.none")["next_step"].startswith("sudo ")
    assert logs.code == 1
    site.nginx.conf.chmod(0o600)
    run = look(opsdoc_as_nobody, site)
    (unseen,) = [u for u in run.unseen if u["subject"] == f"configuration {site.nginx.conf}"]
    assert (run.code, unseen["reason"]) == (3, "denied")
    assert unseen["hint"].startswith("sudo ")
    assert "Traceback" not in run.stdout + run.stderr


def test_root_reads_nothing_for_the_nginx_of_somebody_else(opsdoc, nginx_site):
    """Whoever may start an nginx can have it claim any configuration: `-p '/x -c /etc/shadow'` is enough."""
    if os.geteuid() != 0:
        lacking("only root can be misled")
    secret = opsdoc.folder / "secret.conf"
    secret.write_text(
        "TOPSECRET-1 hunter2\nupstream TOPSECRET-2 { server TOPSECRET-3; }\n"
        "server { location / { proxy_pass http://TOPSECRET-2; } access_log /TOPSECRET-4; }\n"
    )
    secret.chmod(0o600)
    wrapper = opsdoc.folder / "nginx"
    wrapper.write_text(f"#!/bin/sh\nexec {debian_nginx()} \"$@\" -p '/x -c {secret}'\n")
    wrapper.chmod(0o755)
    for folder in (opsdoc.folder, *opsdoc.folder.parents):
        if not folder.stat().st_mode & stat.S_IXOTH and folder.stat().st_uid == 0 and "pytest" in str(folder):
            folder.chmod(0o755)
    site = nginx_site(scenes.healthy(), user=users.NOBODY, binary=wrapper)
    run = look(opsdoc, site)
    assert run.of("nginx")[0]["config"] == str(secret), "it is misled by the title"
    assert run.unseen[0]["detail"] == f"not permitted to read {secret} for the user of this nginx"
    assert (run.code, bad(run)) == (3, ["workers.no-config"])
    text = opsdoc("nginx", "--pid", site.nginx.pid)
    assert "TOPSECRET" not in run.stdout + text.stdout + text.stderr
    secret.chmod(0o604)
    assert "TOPSECRET-2" in look(opsdoc, site).stdout, "what everybody may read is no secret"


# ── containers ───────────────────────────────────────────────────────────────────────────────────

IN_CONTAINER = """
"$@" &
printf '{"ready": true, "main_tid": %d}\\n' $!
while read -r word; do :; done
kill -TERM $!
wait $!
"""


def test_an_nginx_in_a_container_is_read_below_its_root_and_not_dialled(opsdoc, nginx_site, start, tmp_path):
    outside = served(nginx_site(scenes.one_dead()))
    app = containers._app()
    volume = app / "volume"
    site = volume / "site"
    site.mkdir(parents=True)
    text = outside.nginx.conf.read_text().replace(str(outside.nginx.folder), "/tmp/site")
    (site / "nginx.conf").write_text(text.replace("server {", "server { location = /status { stub_status; }", 1))
    for log in (outside.nginx.access_log, outside.nginx.error_log):
        shutil.copy(log, site / log.name)
    command = ["unshare", "--net", "sh", "-c", IN_CONTAINER, "sh", debian_nginx(), "-c", "/tmp/site/nginx.conf"]
    command += ["-e", "/tmp/site/boot.log", "-g", "daemon off;"]
    program = start(containers.Contained, command, app, user="root", tmp=str(volume), root=containers.new_root(app))
    run = opsdoc.json("nginx", "--pid", program.pid)
    (seen,) = run.of("nginx")
    assert seen["config"] == "/tmp/site/nginx.conf"
    assert run.of("access_log")[0]["subject"] == "/tmp/site/access.log"
    assert run.of("access_log")[0]["rows"] == 40
    found = run.finding("upstream.down")
    assert found["summary"].startswith(f"{outside.backends.addresses['a']} of app refuses connections: ")
    assert [u["detail"] for u in run.unseen] == ["not dialled: this nginx has a network of its own"]
    assert {one["unknown"]["probed"] for one in run.of("upstream_server")} == {
        "not dialled: this nginx has a network of its own"
    }
    assert run.code == 1
