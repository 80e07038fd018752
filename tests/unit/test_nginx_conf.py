"""The configuration of nginx: what is in force where, read safely, masked, and usable where parts of it are wrong."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from pathlib import Path

import pytest

from opsdoc.clients import Live, nginx_conf
from opsdoc.clients.nginx_conf import Configuration, Dump
from opsdoc.clients.rooted import Reader, listdir_below, open_below, reader_of, stat_below
from opsdoc.model import Denied, Malformed, TimedOut, Unreachable, UsageError
from opsdoc.parsers.nginx_conf import COMBINED, configuration
from opsdoc.parsers.nginx_nouns import CacheZone, ErrorLog, Place, Setting
from opsdoc.parsers.nginx_words import address, seconds, size, target
from opsdoc.redact import Redactor

DUMP = Path(__file__).parent / "samples" / "nginx" / "dump.txt"  # of nginx 1.22.1
NOBODY = 65534


def live(seconds=20.0, proc="/proc"):
    return Live(deadline=time.monotonic() + seconds, redactor=Redactor(), proc=Path(proc))


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


def answer(folder, main, **files):
    write(folder, {"nginx.conf": main, **{name.replace("__", "/"): text for name, text in files.items()}})
    return Configuration(str(folder / "nginx.conf"), "/srv/prefix").answer(live())


def read(folder, main, **files):
    return configuration(answer(folder, main, **files))


def http(folder, text, **files):
    return read(folder, "events {}\nhttp {\n" + text + "\n}\n", **files)


def dump():
    return configuration(Dump(DUMP).answer(live()))


def line(setting):
    return setting.place.line


# ── what a real configuration says ───────────────────────────────────────────────────────────────


def test_a_dump_holds_all_files_with_their_own_lines():
    given = Dump(DUMP).answer(live())
    names = [Path(file["file"]).relative_to("/etc/nginx").as_posix() for file in given["files"]]
    assert names == ["nginx.conf", "conf.d/a.conf", "conf.d/b.conf", "sites-enabled/shop", "snippets/headers.conf"]
    assert given["problems"] == []
    assert {file["modified"] for file in given["files"]} == {None}
    assert [str(group.place) for group in dump().groups if group.name == "shop"] == ["/etc/nginx/conf.d/b.conf:1"]


def test_a_group_has_its_servers_with_ports_and_parameters():
    (shop,) = [group for group in dump().groups if group.name == "shop"]
    assert (shop.method, shop.zone, shop.keepalive, shop.keepalive_place.line) == ("least_conn", "shop", 16, 8)
    assert [server.address for server in shop.servers] == [
        "10.0.0.11:80",
        "10.0.0.12:8080",
        "[::1]:8081",
        "unix:/run/shop.sock",
    ]
    first, second, third, last = shop.servers
    assert (first.weight, first.max_fails, first.fail_timeout) == (3, 2, 30.0)
    assert (second.weight, second.max_fails, second.fail_timeout, second.max_conns) == (1, 1, 10.0, 10)
    assert [third.down, last.backup, first.down, first.backup] == [True, True, False, False]
    methods = {group.name: group.method for group in dump().groups if not group.implicit}
    assert methods["byhash"] == "hash $request_uri consistent"
    assert methods["byip"] == "ip_hash"
    assert methods["chance"] == "random two least_conn"


def test_a_pass_knows_its_group_or_makes_one():
    seen = {made.location: (made.kind, made.tls, made.group, made.path) for made in dump().passes}
    assert seen == {
        "/": ("proxy", False, "shop", ""),
        "/api": ("proxy", False, "shop", "/v1/"),
        "/api/live": ("proxy", False, "shop", ""),
        "~ \\.php$": ("fastcgi", False, "unix:/run/php.sock", ""),
        "= /secret": ("proxy", True, "10.0.0.9:443", "/x?api_key=********"),
        "@fallback": ("proxy", False, "unix:/run/app.sock", ""),
        "/app": ("proxy", False, "unix:/run/app.sock", "/uri/"),
        "/any": ("proxy", False, None, ""),
        "/g": ("grpc", True, "10.0.0.7:50051", ""),
        "/m": ("memcached", False, "127.0.0.1:11211", ""),
    }
    implicit = {group.name: [server.address for server in group.servers] for group in dump().groups if group.implicit}
    assert list(implicit) == [addresses[0] for addresses in implicit.values()]
    assert "shop" not in implicit
    assert {made.server_names for made in dump().passes} == {("shop.example", "www.shop.example")}


def test_headers_are_inherited_only_by_a_level_without_its_own():
    # As nginx 1.22.1 sends them: measured for the same three locations.
    headers = {
        made.location: {key: value for key, value in made.settings.items() if "header" in key} for made in dump().passes
    }
    outer = Place("/etc/nginx/nginx.conf", 40)
    assert headers["/"] == {
        "set_header": Setting(("Connection",), outer),
        "header Connection": Setting(("",), outer),
    }
    snippet = Place("/etc/nginx/snippets/headers.conf", 1)
    assert headers["/api"] == {
        "set_header": Setting(("Host", "X-Real-IP"), snippet),
        "header Host": Setting(("$host",), snippet),
        "header Connection dropped": Setting(("",), outer),
    }
    assert headers["/api/live"]["header Connection"].args == ("$connection_upgrade",)
    assert headers["/api/live"]["header Upgrade"].args == ("$http_upgrade",)
    assert "header Connection dropped" not in headers["/api/live"]


def test_single_values_come_from_the_innermost_level():
    settings = {made.location: made.settings for made in dump().passes}
    assert [settings[place]["read_timeout"].args for place in ("/", "/api", "/api/live")] == [
        ("20s",),
        ("1m",),
        ("1m",),
    ]
    assert settings["/api/live"]["next_upstream"].args == ("error", "timeout", "http_503")
    assert settings["/"]["http_version"] == Setting(("1.1",), Place("/etc/nginx/nginx.conf", 39))
    assert settings["~ \\.php$"] == {"next_upstream": Setting(("off",), Place("/etc/nginx/sites-enabled/shop", 26))}
    assert settings["/g"] == {}  # what is said of proxy_ does not hold for grpc_


def test_logs_limits_caches_and_workers():
    conf = dump()
    logs = {log.path: (log.format, log.condition, log.buffered) for log in conf.access_logs}
    assert logs == {"/etc/nginx/logs/access.log": ("upstream", None, True)} | {
        "/etc/nginx/logs/api.log": ("json", "$inside", False)
    }
    assert [(log.path.rpartition("/")[2], log.level) for log in conf.error_logs] == [
        ("error.log", "error"),
        ("shop-error.log", "warn"),
    ]
    formats = {form.name: form for form in conf.formats}
    assert formats["upstream"].text == (
        '$remote_addr [$time_local] "$request" $status ua="$upstream_addr" us="$upstream_status" '
        'token="$arg_token" urt=$upstream_response_time'
    )
    assert formats["json"].escape == "json"
    assert formats["json"].text.startswith('{"time":"$time_iso8601","status":$status,"upstream"')
    assert formats["combined"] == COMBINED
    assert [(zone.name, zone.kind, zone.key, zone.rate) for zone in conf.limit_zones] == [
        ("one", "req", "$binary_remote_addr", "2r/s"),
        ("per_server", "conn", "$server_name", ""),
    ]
    assert [(use.zone, use.kind, use.allowed, use.dry_run, use.status, use.location) for use in conf.limit_uses] == [
        ("one", "req", "burst=5 nodelay", False, 429, ""),
        ("per_server", "conn", "10", True, 503, "/api"),
    ]
    assert conf.cache_zones == (
        CacheZone("pages", "/etc/nginx/cache", 1 << 30, 3600, Place("/etc/nginx/nginx.conf", 37), 2 << 20),
    )
    (page,) = conf.status_pages
    assert (page.kind, page.listen, page.tls, page.location) == (
        "stub_status",
        ("127.0.0.1:8080",),
        False,
        "/nginx_status",
    )
    assert (conf.worker_processes, conf.worker_connections) == ("2", 1024)
    assert (conf.worker_rlimit_nofile, conf.worker_shutdown_timeout) == (8192, 90.0)
    assert conf.resolver == ("127.0.0.53",)


def test_the_same_from_disk_and_from_a_dump(tmp_path):
    _, *parts = nginx_conf._DUMPED.split(DUMP.read_text())
    files = dict(zip(parts[::2], parts[1::2], strict=True))
    write(
        tmp_path,
        {
            name.removeprefix("/etc/nginx/"): text.removeprefix("\n").replace("/etc/nginx", str(tmp_path))
            for name, text in files.items()
        },
    )
    write(tmp_path, {"conf.d/.hidden.conf": "upstream hidden { server 127.0.0.1:1; }"})
    on_disk = Configuration(str(tmp_path / "nginx.conf")).answer(live())
    as_there = json.loads(json.dumps(on_disk).replace(str(tmp_path), "/etc/nginx"))
    assert configuration(as_there) == dump()
    assert Dump(tmp_path / "nginx.conf").answer(live()) == on_disk
    assert all(time.time() - file["modified"] < 600 for file in on_disk["files"])


# ── rules that are easily missed ─────────────────────────────────────────────────────────────────


def test_what_stands_after_a_block_holds_in_it(tmp_path):
    conf = http(
        tmp_path, "server { location / { proxy_pass http://a; } proxy_read_timeout 3s; }\nproxy_send_timeout 4s;"
    )
    (made,) = conf.passes
    assert (made.settings["read_timeout"].args, made.settings["send_timeout"].args) == (("3s",), ("4s",))


def test_blocks_of_conditions_inherit_too(tmp_path):
    conf = http(
        tmp_path,
        """proxy_set_header Connection "";
        server { location /a { proxy_connect_timeout 1s; if ($arg_x = "s3cret") { proxy_pass http://a; }
          limit_except GET { proxy_pass http://b:81; } proxy_pass http://c; } }""",
    )
    assert [(made.group, made.location) for made in conf.passes] == [("c:80", "/a"), ("a:80", "/a"), ("b:81", "/a")]
    assert {made.settings["connect_timeout"].args for made in conf.passes} == {("1s",)}
    assert {made.settings["header Connection"].args for made in conf.passes} == {("",)}


def test_what_was_dropped_stays_dropped_until_it_is_set_again(tmp_path):
    conf = http(
        tmp_path,
        """proxy_set_header Connection "";
        server { proxy_set_header X-A a;
          location /a { proxy_set_header X-B b; proxy_pass http://a; }
          location /b { proxy_pass http://a; }
          location /c { proxy_set_header connection ""; proxy_pass http://a; } }""",
    )
    dropped = {made.location: "header Connection dropped" in made.settings for made in conf.passes}
    assert dropped == {"/a": True, "/b": True, "/c": False}


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("http://Back", "back"),  # names of groups know no case (measured)
        ("http://back/x", "back"),
        ("http://back$request_uri", "back"),
        ("http://back${uri}", "back"),
        ("http://back/$1?$args", "back"),
        ("http://$where", None),
        ("http://back$more", None),
        ("http://other/$1", None),  # is looked up, or resolved, when a request comes
        ("http://10.0.0.1/$1", "10.0.0.1:80"),
        ("https://other", "other:443"),
        ("http://[::1]", "[::1]:80"),
        ("http://unix:/x.sock:/$1", "unix:/x.sock"),
    ],
)
def test_where_a_pass_leads(tmp_path, text, group):
    conf = http(tmp_path, f"upstream back {{ server a; }} server {{ location / {{ proxy_pass {text}; }} }}")
    assert [made.group for made in conf.passes] == [group]
    assert [made.name for made in conf.groups if made.implicit] == ([group] if group not in ("back", None) else [])


def test_groups_of_stream_are_kept_apart(tmp_path):
    conf = read(
        tmp_path,
        """stream { log_format tcp '$x'; access_log /l tcp; upstream db { server d; } server { proxy_pass db; } }
        http { server { location / { proxy_pass http://db; } } } events {}""",
    )
    assert [(group.name, group.protocol, group.implicit) for group in conf.groups] == [
        ("db", "stream", False),
        ("db:80", "http", True),
    ]
    assert [server.address for server in conf.groups[0].servers] == ["d"]
    assert [made.target for made in conf.passes] == ["http://db"]
    assert [log.path for log in conf.access_logs] == ["/srv/prefix/logs/access.log"]
    assert [form.name for form in conf.formats] == ["combined"]


def test_newer_directives_of_a_group(tmp_path):
    conf = http(
        tmp_path,
        """upstream a { keepalive 16 local; server n service=http resolve; server b:1 drain slow_start=1m;
          resolver ::1; }
        upstream b { keepalive 0; least_time header; server c; }
        upstream c { sticky cookie srv_id expires=1h; server c; least_conn; }
        upstream d { server 0.0.0.1; balancer_by_lua_block { local a = "{" -- }'
          return {1} } keepalive 5; }
        upstream e { keepalive x; server c weight=a fail_timeout=1x max_fails=0; }""",
    )
    a, b, c, d, e = conf.groups
    assert (a.keepalive, a.resolver, a.servers[0].resolve, a.servers[0].address) == (16, ("::1",), True, "n")
    assert (a.servers[1].drain, a.servers[1].slow_start) == (True, 60.0)
    assert (b.keepalive, b.method) == (0, "least_time header")
    assert c.method == "sticky cookie srv_id expires=1h"
    assert (d.method, d.keepalive) == ("lua", 5)
    assert (e.keepalive, e.servers[0].weight, e.servers[0].fail_timeout, e.servers[0].max_fails) == (None, 1, 10.0, 0)
    assert [problem.text for problem in conf.problems] == [
        "keepalive: not a number: 'x'",
        "server: not a number or time: 'weight=a'",
        "server: not a number or time: 'fail_timeout=1x'",
    ]
    assert {problem.place.line for problem in conf.problems} == {9}


def test_access_logs_are_those_in_use(tmp_path):
    conf = http(
        tmp_path,
        """access_log /outer.log; log_format one '$a' ;
        server { server_name a; access_log logs/a.log one gzip; access_log syslog:server=10.0.0.1 one;
          location /x { access_log off; access_log /never.log; } location /y { access_log /y/$host.log; } }
        server { server_name b; access_log logs/a.log; }""",
    )
    assert [(log.path, log.format, log.gzip, log.server_names) for log in conf.access_logs] == [
        ("/srv/prefix/logs/a.log", "one", True, ("a",)),
        ("syslog:server=10.0.0.1", "one", False, ("a",)),
        ("/y/$host.log", "combined", False, ("a",)),
        ("/srv/prefix/logs/a.log", "combined", False, ("b",)),
    ]


def test_where_no_log_is_configured_those_compiled_in_are_used(tmp_path):
    given = answer(tmp_path, "events {} http { server { server_name a; } }")
    conf = configuration(given, access_log="/var/log/nginx/access.log", error_log="stderr")
    assert [(log.path, log.place, log.server_names) for log in conf.access_logs] == [
        ("/var/log/nginx/access.log", None, ("a",))
    ]
    assert conf.error_logs == (ErrorLog("stderr"),)


def test_a_format_has_the_characters_that_nginx_writes(tmp_path):
    # nginx 1.22.1 wrote for it, with a tab: a	b"q" \ \.x/uri's'
    conf = http(tmp_path, r"""log_format tab 'a\tb' "\"q\" \\ \.x" '$uri' "\'s'";""")
    assert conf.formats[1].text == "a\tb\"q\" \\ \\.x$uri's'"


def test_a_limit_of_an_outer_level_is_one(tmp_path):
    conf = http(
        tmp_path,
        """limit_req zone=a burst=2; limit_req_log_level warn;
        server { server_name x; location /1 {} location /2 { limit_req_dry_run on; } }
        server { server_name y; location /3 { limit_req zone=b; } }""",
    )
    uses = [(use.zone, use.dry_run, use.log_level, use.server_names, use.location) for use in conf.limit_uses]
    assert uses == [
        ("a", False, "warn", ("x", "y"), ""),
        ("a", True, "warn", ("x",), "/2"),
        ("b", False, "warn", ("y",), "/3"),
    ]


def test_logs_that_every_request_is_written_to_are_beside_each_other(tmp_path):
    conf = http(
        tmp_path,
        """access_log /a; access_log /b main; access_log /some if=$loggable;
        server { location / { } } server { access_log /a; access_log /c; access_log /b main; }
        server { location /x { access_log /c; } }""",
    )
    assert {log.path: log.beside for log in conf.access_logs} == {
        "/a": ("/b",),
        "/b": ("/a",),
        "/some": ("/a", "/b"),
        "/c": (),
    }


def test_pages_that_tell_counters(tmp_path):
    conf = http(
        tmp_path,
        """server { listen 443 ssl; listen [::1]:444 ssl; location ^~ /a { api write=on; } }
        server { listen 8080; listen 443 ssl; listen 443 quic; server_name s; location /status/ { api /status/; } }
        server { location = /vts { vhost_traffic_status_display; } location /off { stub_status off; } }""",
    )
    assert [(page.kind, page.listen, page.tls, page.server_name, page.location) for page in conf.status_pages] == [
        ("plus", ("*:443", "[::1]:444"), True, "", "/a"),
        ("angie", ("*:8080",), False, "s", "/status/"),
        ("vts", ("*:80",), False, "", "/vts"),
    ]


def test_a_part_of_a_configuration_is_read_as_such(tmp_path):
    site = read(tmp_path, "upstream a { server b; } server { server_name s; location / { proxy_pass http://a; } }")
    assert [(made.group, made.server_names) for made in site.passes] == [("a", ("s",))]
    assert (site.access_logs, site.error_logs) == ((), ())
    location = read(tmp_path, "proxy_read_timeout 5s; location /x { proxy_pass http://b; access_log /l; }")
    assert [(made.group, made.settings["read_timeout"].args) for made in location.passes] == [("b:80", ("5s",))]
    assert [log.path for log in location.access_logs] == ["/l"]


@pytest.mark.parametrize(
    ("text", "value"),
    [("10", 10), ("500ms", 0.5), ("1m", 60), ("1h 30m", 5400), ("2d", 172800), ("", None), ("x", None), ("1x", None)],
)
def test_times(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize(("text", "value"), [("10k", 10240), ("5M", 5 << 20), ("1g", 1 << 30), ("7", 7), ("k", None)])
def test_sizes(text, value):
    assert size(text) == value


def test_addresses():
    assert [address(text, 80) for text in ("a", "a:1", "[::1]", "[::1]:2", "unix:/a")] == [
        "a:80",
        "a:1",
        "[::1]:80",
        "[::1]:2",
        "unix:/a",
    ]
    assert target("uwsgi", "suwsgi://h:1").tls
    assert target("fastcgi", "h:9000").address == "h:9000"


# ── what is wrong with it ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("server { location / { proxy_pass http://a;", 3, 'ends before the "}"'),
        ("server { location / { proxy_pass http://a } }", 3, '"proxy_pass" has no ";" before line 3'),
        ("server { location / { proxy_pass http://a; } }\n}", 5, 'unexpected "}"'),
        ("; server { location / { proxy_pass http://a; } }", 3, 'unexpected ";"'),
        ("{ x y; } server { location / { proxy_pass http://a; } }", 3, 'unexpected "{"'),
        ("server { location / { proxy_pass http://a; } }\nlog_format x 'a", 4, "ends within a quotation"),
        ("server { location / { proxy_pass http://a; } }\n\0\0\0", 4, "NUL byte"),
    ],
)
def test_what_is_usable_is_used(tmp_path, text, line, problem):
    conf = http(tmp_path, text)
    assert [made.group for made in conf.passes] == ["a:80"]
    told = {found.place.line: found.text for found in conf.problems if problem in found.text}
    assert told, conf.problems
    assert list(told) == [line]


def test_binary_and_unknown_things_disturb_nothing(tmp_path):
    conf = http(
        tmp_path,
        """include bin; lua_package_path "/x/?.lua;;"; js_import a from b.js; check interval=3000 rise=2 type=http;
        map $a $b { hostnames; "~^{;}" 1; default "}"; *.x {; } split_clients "$a" $v { 50% .one; * ""; }
        init_by_lua_block { -- it's } "quoted"
          local t = { a = "}" } }
        server { rewrite_by_lua 'ngx.say("{")'; location / { set_by_lua_block $x { return "}" } proxy_pass http://a; } }
        """.replace("*.x {; }", "*.x y; }"),
        bin=bytes(range(256)) * 20,
    )
    assert [made.group for made in conf.passes] == ["a:80"]
    assert [Path(problem.place.file).name for problem in conf.problems] == ["bin"]


def test_includes_that_cannot_be_read_are_told_with_their_place(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    conf = http(
        tmp_path,
        "include missing.conf;\ninclude fifo;\ninclude folder;\ninclude loop;\ninclude nginx.conf;\n"
        "include none/*.conf;\ninclude gone/*/x.conf;\n"
        "server { location / { proxy_pass http://a; include nested/*; } }",
        nested__a="proxy_read_timeout 1s;",
    )
    assert [
        (problem.place.line, problem.text.removeprefix(f"cannot read {tmp_path}/")) for problem in conf.problems
    ] == [
        (3, "missing.conf: No such file or directory"),
        (4, "fifo: not a regular file"),
        (5, "folder: not a regular file"),
        (6, "loop: Too many levels of symbolic links"),
        (7, "nginx.conf: it includes itself, or too many files include each other"),
    ]
    assert conf.includes_missing[0] == str(tmp_path / "missing.conf")
    assert conf.passes[0].settings["read_timeout"].args == ("1s",)


def test_files_that_include_each_other_without_end_are_bounded(tmp_path):
    # Each includes the next twice: 2 to the power of 20, were it not for the bound.
    files = {f"f{number}": f"include f{number + 1};\ninclude f{number + 1};\n" for number in range(20)}
    began = time.monotonic()
    given = answer(tmp_path, "include f0;", **files, f20="events {}\n")
    assert time.monotonic() - began < 10
    assert any("not read from here on" in problem["text"] for problem in given["problems"])
    assert len(given["directives"]) <= nginx_conf.MOST_FILES


def test_too_much_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(nginx_conf, "MOST_DIRECTIVES", 50)
    given = answer(tmp_path, "events {}\n" + "error_log /x;\n" * 60 + "a {" * 40 + "}" * 40)
    assert len(given["directives"]) == 50
    assert [problem["line"] for problem in given["problems"] if "not read from here on" in problem["text"]] == [51]
    monkeypatch.undo()
    deep = answer(tmp_path, "location / {" * 40 + "}" * 40)
    assert "too many blocks within blocks" in deep["problems"][0]["text"]
    configuration(deep)


def test_no_time_left_is_an_error_of_its_own(tmp_path):
    write(tmp_path, {"nginx.conf": "include a;"})
    with pytest.raises(TimedOut):
        Configuration(str(tmp_path / "nginx.conf")).answer(live(seconds=-1))


def test_a_main_file_that_cannot_be_read_is_the_end(tmp_path):
    with pytest.raises(Unreachable, match="No such file"):
        Configuration(str(tmp_path / "none.conf")).answer(live())
    with pytest.raises(Unreachable, match="not a regular file"):
        Configuration(str(tmp_path)).answer(live())
    with pytest.raises(Unreachable, match="no process"):
        Configuration("/etc/nginx/nginx.conf", "", 4194305).answer(live())
    with pytest.raises(UsageError):
        Dump(tmp_path / "none").answer(live())


@contextlib.contextmanager
def as_nobody():
    """Without the rights of root, where the tests have them."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_files_without_permission():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        write(folder, {"nginx.conf": "events {}\nhttp { include a; include d/*; server {} }", "a": "x", "d/b": "y"})
        (folder / "a").chmod(0)
        (folder / "d").chmod(0)
        with as_nobody():
            given = Configuration(str(folder / "nginx.conf")).answer(live())
        assert [(problem["line"], problem["text"]) for problem in given["problems"]] == [
            (2, f"cannot read {folder}/a: not permitted"),
            (2, f"cannot look for {folder}/d/*: not permitted"),
        ]
        assert [directive["directive"] for directive in given["directives"]] == ["events", "http"]
        (folder / "nginx.conf").chmod(0)
        with as_nobody(), pytest.raises(Denied) as denied:
            Configuration(str(folder / "nginx.conf")).answer(live())
        assert "nginx.conf" in denied.value.detail


# ── what leaves the door ─────────────────────────────────────────────────────────────────────────


def test_no_secret_is_answered(tmp_path):
    text = """events {} http { proxy_set_header Authorization "Basic aHVudGVyMjpodW50ZXIy"; proxy_set_header Host h;
    upstream hunter { server a; } map $x $y { hunter2 1; }
    server { if ($http_x_key = "hunter2") { return 403; } auth_basic_user_file /hunter2; ssl_certificate_key hunter2;
      location / { fastcgi_param DB_PASSWORD hunter2; set $token hunter2; proxy_pass http://u:hunter2hunter@h/x; }
      location /b { uwsgi_pass unix:/x; proxy_pass http://h/?password=hunter2hunter; } } }"""
    given = json.dumps(answer(tmp_path, text))
    assert "hunter2" not in given
    assert "aHVudGVy" not in given
    assert "********" in given
    assert '"args": ["Authorization"]' in given


def test_only_what_is_read_is_answered(tmp_path):
    given = answer(
        tmp_path, "user x; events { use epoll; } http { root /x; types { a b; } server { gzip on; listen 80; } }"
    )
    assert [directive["directive"] for directive in given["directives"]] == ["events", "http"]
    (server,) = given["directives"][1]["block"]
    assert [inner["directive"] for inner in server["block"]] == ["listen"]
    assert server["file"] == str(tmp_path / "nginx.conf")


@pytest.mark.parametrize("tree", [None, [], {}, {"directives": [1]}, {"directives": {}}, {"directives": [{}]}])
def test_what_is_no_tree_is_malformed(tree):
    with pytest.raises(Malformed):
        configuration(tree)


# ── below a root ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def root(tmp_path):
    """The root of a process as /proc shows it, with a file outside of it that nobody may reach."""
    write(tmp_path, {"outside": "http {}", "7/root/etc/nginx/nginx.conf": "include sites/*;\ninclude conf.d/*;"})
    write(tmp_path, {"7/status": "Name:\tnginx\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nGroups:\t0 \n"})
    inside = tmp_path / "7" / "root"
    write(inside, {"srv/a": "worker_processes 3;", "srv/b": "worker_connections 9;"})
    (inside / "etc/nginx/sites").mkdir()
    (inside / "etc/nginx/sites/absolute").symlink_to("/srv/a")
    (inside / "etc/nginx/sites/relative").symlink_to("../../../srv/b")
    (inside / "etc/nginx/sites/outside").symlink_to(tmp_path / "outside")
    (inside / "etc/nginx/sites/up").symlink_to("../" * 20 + "outside")
    (inside / "etc/nginx/conf.d").symlink_to("/srv")
    return inside


def test_symlinks_are_followed_within_the_root_of_the_process(root):
    given = Configuration("/etc/nginx/nginx.conf", "", 7).answer(live(proc=root.parent.parent))
    conf = configuration(given)
    assert (conf.worker_processes, conf.worker_connections) == ("3", 9)
    assert [problem.text.rpartition("/")[2] for problem in conf.problems] == [
        "outside: No such file or directory",
        "up: No such file or directory",
    ]
    assert [Path(file["file"]).name for file in given["files"]] == ["nginx.conf", "absolute", "relative", "a", "b"]


def test_files_are_read_with_the_rights_of_the_user_whose_process_names_them(root):
    """Also by root: the nginx of anybody can name any file."""
    (root.parent / "status").write_text("Uid:\t9\t65000\t9\t9\nGid:\t9\t9\t9\t9\nGroups:\t65001 65002 \n")
    reader = reader_of(root.parent.parent, 7)
    assert reader == Reader(65000, frozenset({9, 65001, 65002}))
    assert reader_of(Path("/proc"), 1) is None
    main = root / "etc/nginx/nginx.conf"
    for mode, may in {0o604: True, 0o640: False, 0o600: False}.items():
        main.chmod(mode)
        if may:
            os.close(open_below(root, "/etc/nginx/nginx.conf", reader))
            continue
        with pytest.raises(PermissionError):
            open_below(root, "/etc/nginx/nginx.conf", reader)
        with pytest.raises(Denied, match=r"not permitted to read /etc/nginx/nginx.conf for the user of this nginx"):
            Configuration("/etc/nginx/nginx.conf", "", 7).answer(live(proc=root.parent.parent))
    main.chmod(0o644)
    (root / "srv").chmod(0o700)  # the folder to which conf.d leads
    problems = Configuration("/etc/nginx/nginx.conf", "", 7).answer(live(proc=root.parent.parent))["problems"]
    assert "cannot look for /etc/nginx/conf.d/*: not permitted" in [problem["text"] for problem in problems]
    if os.geteuid() == 0:
        os.chown(main, 65000, 65002)
        main.chmod(0o400)
        os.close(open_below(root, "/etc/nginx/nginx.conf", reader))
        main.chmod(0o044)
        with pytest.raises(PermissionError):  # the owner is no other
            open_below(root, "/etc/nginx/nginx.conf", reader)


def test_nothing_but_files_is_opened_below_a_root(root):
    os.mkfifo(root / "fifo")
    before = len(os.listdir("/proc/self/fd"))
    for path, error in {
        "/fifo": OSError,
        "/srv": OSError,
        "/srv/a/b": NotADirectoryError,
        "/none": FileNotFoundError,
        "../../outside": FileNotFoundError,
        "/\0": FileNotFoundError,
        "/" + "srv/../" * 2000: OSError,
    }.items():
        with pytest.raises(error):
            open_below(root, path)
    descriptor = open_below(root, "/etc/nginx/conf.d/../srv/./a")
    try:
        assert os.read(descriptor, 99) == b"worker_processes 3;"
    finally:
        os.close(descriptor)
    assert sorted(listdir_below(root, "/etc/nginx/conf.d")) == ["a", "b"]
    assert stat_below(root, "/etc/nginx/sites/absolute").st_size == 19
    with pytest.raises(NotADirectoryError):
        listdir_below(root, "/srv/a")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_megabyte_is_read_in_time(tmp_path):
    groups = "".join(
        f"upstream group_{number:05} {{ server 10.{number % 250}.{number // 250}.1:8080 weight=3 max_fails=2;\n"
        f"  server 10.{number % 250}.{number // 250}.2:8080 backup; keepalive 16; zone z{number} 64k; }}{' ' * 70}\n"
        for number in range(5000)
    )
    text = "events {}\nhttp {\n" + groups + "}\n"
    assert len(text) > 1_000_000
    write(tmp_path, {"nginx.conf": text})
    began = time.process_time()
    conf = configuration(Configuration(str(tmp_path / "nginx.conf")).answer(live()))
    assert time.process_time() - began < 3  # 0.6 s on a quiet machine; `make bench` holds the promise
    assert sum(len(group.servers) for group in conf.groups) == 10_000
