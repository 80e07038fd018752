"""The playbook site-502 on a real site: the first cause that explains the others is the verdict."""

from __future__ import annotations

import pytest
from servers import nginx_scenes

REQUESTS = 120


def cause(run):
    (found,) = [one for one in run.findings if one["rule"] == "site-502.cause"]
    return found


def look(opsdoc, site, *options):
    site.nginx.request("/", REQUESTS, 4)
    site.nginx.log_written(REQUESTS)
    return opsdoc.json("run", "site-502", "-p", f"nginx={site.nginx.pid}", "-p", "window=500ms", *options)


@pytest.mark.parametrize(
    ("scene", "severity", "words"),
    [
        (nginx_scenes.erring, "critical", "<a> of app answers 503: 60 of 60 attempts"),
        (nginx_scenes.one_dead, "warning", "<a> of app refuses connections"),
        (nginx_scenes.limited, "warning", "a limit of nginx, and no server: nginx itself rejected"),
        (nginx_scenes.healthy, "ok", "nothing is wrong with nginx and its servers"),
    ],
)
def test_the_cause_is_the_verdict_of_the_playbook(opsdoc, nginx_site, scene, severity, words):
    site = nginx_site(scene())
    run = look(opsdoc, site)
    found = cause(run)
    assert found["severity"] == severity
    assert found["summary"].startswith(words.replace("<a>", site.backends.addresses["a"]))
    assert [result["step"] for result in run.report["results"]] == ["nginx", "sockets", "top", None]
    shown = [*run.of("upstream_group"), *run.of("upstream_server")]
    assert set(found["evidence"]) >= {one["id"] for one in shown}


def test_the_report_shows_the_servers_of_the_group(opsdoc, nginx_site, tmp_path):
    site = nginx_site(nginx_scenes.erring())
    look(opsdoc, site, "-o", tmp_path / "site.html")
    page = (tmp_path / "site.html").read_text()
    assert "upstream group app (in ink: failed)" in page
    assert all(address in page for address in site.backends.addresses.values())
