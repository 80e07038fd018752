"""The playbook cache-miss-storm: options that are lists are recorded, and a password in a URL is told nowhere."""

from __future__ import annotations

from pathlib import Path

URL = "url=redis://ops:Hunter2Secret9@127.0.0.1:1"


def test_a_password_in_a_parameter_is_in_no_output_and_no_case(opsdoc, tmp_path):
    only = ("--only", "redis", "-p", URL)
    planned = opsdoc("run", "cache-miss-storm", *only, "--dry-run")
    run = opsdoc.json("run", "cache-miss-storm", *only, "--record", tmp_path / "case", "-o", tmp_path / "r.html")
    assert run.code == 3
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"case.json", "recording.json", "r.html"} <= {path.name for path in files}
    told = [planned.stdout, planned.stderr, run.stdout, run.stderr, *map(Path.read_text, files)]
    assert not [text for text in told if "Hunter2Secret9" in text]
    again = opsdoc.json("run", "cache-miss-storm", "--replay", tmp_path / "case")
    assert again.report["summary"] == run.report["summary"]
