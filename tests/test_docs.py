"""Documentation that can rot is generated or compared: commands, options, paths, rules, limits, help, the sample.

`pytest tests/test_docs.py --accept` writes the generated blocks anew; `git diff` is the review.
"""

from __future__ import annotations

import ast
import importlib
import io
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from opsdoc import __version__, commands, probes, signals
from opsdoc.commands.values import variable
from opsdoc.engine import Settings, run
from opsdoc.model import ProbeError, Severity
from opsdoc.recording import ReplayHost
from opsdoc.render import render
from opsdoc.stop import Stop

ROOT = Path(__file__).parent.parent
DOCS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
RECORDINGS = ROOT / "tests/recordings"
PICTURE = ROOT / "docs/img/report.png"
WIDTH = "100"

# Options in prose that are not opsdoc's.
OTHERS_OPTIONS = {"--accept"}
# Written by `make bench`, so absent until it has run.
MADE_LATER = {"docs/performance.md", "opsdoc/v1"}  # and an API version is no path

doc = pytest.mark.parametrize("doc", DOCS, ids=lambda path: str(path.relative_to(ROOT)))


# ── what there is ────────────────────────────────────────────────────────────────────────────────


def signal_modules() -> list[Any]:
    return [importlib.import_module(f"{signals.__name__}.{m.name}") for m in pkgutil.iter_modules(signals.__path__)]


LIMITS = {
    f"{module.__name__.rpartition('.')[2]}.{name}": limit
    for module in signal_modules()
    if hasattr(module, "Limits")
    for name, limit in module.Limits()._asdict().items()
}


def rules_in(tree: ast.AST) -> set[str]:
    """The rule ids of a module: what is spelled like one. Only of the box may a limit have the name of a rule."""
    texts = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    return {text for text in texts if re.fullmatch(r"[a-z]+\.[a-z]+(?:-[a-z]+)*", text)} - {
        name for name in LIMITS if not name.startswith("box.")
    }


def rules() -> set[str]:
    """Every rule id that the code can give."""
    found = {f"target.{error.reason}" for error in ProbeError.__subclasses__()}
    for path in [ROOT / "opsdoc/engine.py", ROOT / "opsdoc/playbook/runner.py", *ROOT.glob("opsdoc/signals/*.py")]:
        if path.name != "origin.py":  # whose names with a dot are packages
            found |= rules_in(ast.parse(path.read_text()))
    return found


def command(words: list[str]) -> Any:
    """The command that the words of a command line name, or None."""
    found: Any = commands.Commands(name="opsdoc")
    for word in words:
        found = found.get_command(None, word) if hasattr(found, "list_commands") else None
        if found is None:
            return None
        if not hasattr(found, "list_commands"):
            return found
    return found


def flags(found: Any) -> set[str]:
    """The options of a command, as they are typed."""
    return {flag for param in found.params for flag in param.opts} | {"-h", "--help"}


COMMANDS = {name: command([name]) for name in commands.Commands(name="opsdoc").list_commands(None)}
LEAVES = [command(name.split(".")) for name in probes.names()]
FLAGS = {flag for found in [*COMMANDS.values(), *LEAVES] for flag in flags(found)} | {"--version", "-V"}


# ── what is written ──────────────────────────────────────────────────────────────────────────────

FENCE = re.compile(r"^([ ]*)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
BLOCK = re.compile(r"(<!-- generated: ([\w./ -]+?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def code_of(text: str) -> Iterator[str]:
    """Every line of a shell block and every code span."""
    for fence in FENCE.finditer(text):
        if fence[2] == "sh":
            yield from (line.partition("#")[0].strip() for line in fence[3].splitlines())
    yield from CODE.findall(FENCE.sub("", text))


@doc
def test_every_command_and_option_exists(doc):
    for code in code_of(doc.read_text()):
        for words in re.findall(r"(?<![\w./-])opsdoc ([a-z-][^|;&>)`]*)", code):
            name, *rest = words.split()
            if name in ("--version", "-V", "--help", "-h"):
                continue
            assert name in COMMANDS, f"no command in: {code}"
            found = command([name, *rest]) or COMMANDS[name]
            for word in rest:
                if re.match(r"--?[a-z]", word):
                    assert word.partition("=")[0] in flags(found), f"no option {word} in: {code}"
        if re.match(r"--[a-z]", code):
            option = re.split(r"[ =]", code)[0]
            assert option in FLAGS | OTHERS_OPTIONS, f"no option: {code}"


@doc
def test_every_path_exists(doc):
    text = doc.read_text()
    for path in re.findall(r"(?<![\w./~-])((?:opsdoc|tests|docs|bench|playbooks|\.ci)/[\w./*-]*[\w/*])", text):
        assert path in MADE_LATER or list(ROOT.glob(path)), f"no such file: {path}"
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = doc if not path else doc.parent / path
        assert path in MADE_LATER or target.exists(), f"no such file: {link}"
        if anchor:
            assert f'<a id="{anchor}"></a>' in target.read_text(), f"no such anchor: {link}"


@doc
def test_every_target_of_make_exists(doc):
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for code in code_of(doc.read_text()):
        for name in re.findall(r"(?:^|\s)make ([a-z]+)", code):
            assert name in targets, code


@doc
def test_every_variable_exists(doc):
    known = {variable(p) for name in probes.names() for p in probes.load(name).params}
    known |= {"OPSDOC_" + flag[2:].upper().replace("-", "_") for flag in FLAGS if flag.startswith("--")}
    for name in re.findall(r"\bOPSDOC_[A-Z_]+", doc.read_text()):
        assert name in known


@doc
def test_every_rule_and_limit_named_exists(doc):
    known = rules() | set(LIMITS)
    prefixes = {name.partition(".")[0] for name in known} - {"opsdoc"}
    for code in code_of(doc.read_text()):
        for name in re.findall(rf"(?<![\w/.-])(?:{'|'.join(sorted(prefixes))})\.[a-z][a-z_-]*(?![\w.(])", code):
            suffix = name.partition(".")[2]
            assert name in known or suffix in ("html", "json", "py", "txt"), f"no rule or limit: {name}"


# ── what is generated ────────────────────────────────────────────────────────────────────────────


def fenced(text: str, language: str = "text") -> str:
    return f"```{language}\n{text.rstrip()}\n```\n"


def help_block(name: str = "") -> str:
    found = COMMANDS[name] if name else commands.Commands(name="opsdoc")
    return fenced(found.get_help(typer.Context(found, info_name=f"opsdoc {name}".strip())))


# What a run cost belongs to the run, not to the one that judges it again.
COST = re.compile(r"^  (?:cost|files) .*\n(?: {12}.*\n)*", re.MULTILINE)


def sample_block(scenario: str = "cpu/jvm-hot") -> str:
    """The text report of a recorded run, as it is judged and rendered now."""
    recording = RECORDINGS / scenario
    recorded = ReplayHost(recording).options
    probe = probes.load(recording.parent.name)
    arguments = {
        p.name: recorded[p.name] if p.many else p.default if recorded.get(p.name) is None else p.type(recorded[p.name])
        for p in probe.params
    }
    out = io.StringIO()
    render(run(probe, arguments, Settings(replay=recording), Stop()), "text", out)
    return fenced(COST.sub("", out.getvalue()))


def layers() -> list[list[str]]:
    """The layers of the import contract that have modules."""
    text = (ROOT / "pyproject.toml").read_text()
    listed = ast.literal_eval(re.search(r"^layers = (\[.*?^\])", text, re.MULTILINE | re.DOTALL)[1])
    found = [[name.strip(" ()") for name in re.split(r"[|:]", layer)] for layer in listed]
    here = [[name for name in layer if list((ROOT / "opsdoc").glob(f"{name}*"))] for layer in found]
    return [layer for layer in here if layer]


def layers_block() -> str:
    return fenced("\n   ▼\n".join("   ".join(layer) for layer in layers()))


def modules_block() -> str:
    lines = ["| module | |", "|---|---|"]
    for name in [name for layer in layers() for name in layer]:
        paths = [ROOT / f"opsdoc/{name}.py"] if (ROOT / f"opsdoc/{name}.py").exists() else _package(name)
        for path in paths:
            about = ast.get_docstring(ast.parse(path.read_text()))
            if about:
                lines.append(f"| `{path.relative_to(ROOT)}` | {about.partition(chr(10))[0].replace('|', '/')} |")
    return "\n".join(lines) + "\n"


def _package(name: str) -> list[Path]:
    return sorted((ROOT / "opsdoc" / name).rglob("*.py"), key=lambda path: (path.parent, path.name))


def make_block() -> str:
    head = (ROOT / "Makefile").read_text().partition("\n\n")[0]
    return fenced("\n".join(line.removeprefix("# ") for line in head.splitlines()))


def rules_block() -> str:
    """The rules with the sentence that each section begins with."""
    text = (ROOT / "docs/rules.md").read_text()
    rows = re.findall(r'<a id="([^"]+)"></a>\n\n### \1\n\n([^\n]+)', text)
    return "| rule | |\n|---|---|\n" + "".join(f"| [{rule}](#{rule}) | {lead} |\n" for rule, lead in rows)


def generated(name: str) -> str:
    first, _, rest = name.partition(" ")
    match first:
        case "help":
            return help_block(rest)
        case "sample":
            return sample_block(*filter(None, [rest]))
        case "layers":
            return layers_block()
        case "modules":
            return modules_block()
        case "make":
            return make_block()
        case "rules":
            return rules_block()
    pytest.fail(f"nobody generates a block '{name}'")


def limit_line(name: str) -> str:
    """A limit as a section of docs/rules.md states it."""
    limit = LIMITS[name]
    crit = "never critical by itself" if limit.crit is None else f"CRITICAL from {limit.crit:g}"
    line = f"- **Limit.** `{name}`: WARNING from {limit.warn:g}, {crit} ({limit.unit}). Why: {limit.source}."
    return textwrap.fill(line, 118, subsequent_indent="  ", break_on_hyphens=False)


def _limits_anew(text: str) -> str:
    return re.sub(r"^- \*\*Limit\.\*\* `([\w.]+)`.*(?:\n  .*)*", lambda m: limit_line(m[1]), text, flags=re.MULTILINE)


@doc
def test_generated_parts_are_as_they_would_be_now(doc, accept, monkeypatch):
    monkeypatch.setenv("COLUMNS", WIDTH)
    text = doc.read_text()
    now = BLOCK.sub(lambda m: m[1] + generated(m[2]) + m[4], _limits_anew(text))
    if accept:
        doc.write_text(now)
    else:
        assert text == now, "pytest tests/test_docs.py --accept writes it"


# ── the rules ────────────────────────────────────────────────────────────────────────────────────

RULES_PAGE = (ROOT / "docs/rules.md").read_text()
SECTIONS = {
    match[1]: match[2]
    for match in re.finditer(r'<a id="([^"]+)"></a>\n\n### \1\n(.*?)(?=\n<a id=|\n## |\Z)', RULES_PAGE, re.DOTALL)
}


def test_every_rule_of_the_code_is_documented_and_no_other():
    assert set(SECTIONS) == rules()


@pytest.mark.parametrize("rule", SECTIONS)
def test_a_section_says_what_it_means_what_to_do_and_what_may_mislead(rule):
    parts = re.findall(r"^- \*\*([\w ]+)\.\*\* \S", SECTIONS[rule], re.MULTILINE)
    assert {"Means", "Next", "May mislead"} <= set(parts)
    if not rule.startswith(("target.", "opsdoc.")):
        assert {"Judged", "Evidence", "By hand"} <= set(parts)


def test_every_limit_is_stated_in_a_section():
    assert set(re.findall(r"\*\*Limit\.\*\* `([\w.]+)`", RULES_PAGE)) == set(LIMITS)


# ── README and CHANGELOG ─────────────────────────────────────────────────────────────────────────

README = ROOT / "README.md"


def test_the_sample_opens_with_the_line_of_code():
    assert re.match(r"CRITICAL .*OrderPricer", sample_block().splitlines()[3])


def test_the_picture_is_small_and_shown():
    assert PICTURE.read_bytes().startswith(b"\x89PNG")
    assert PICTURE.stat().st_size < 300_000
    assert "(docs/img/report.png)" in README.read_text()


def test_the_exit_codes_are_those_of_the_code():
    table = dict(re.findall(r"^\| (\d) \| (\w+)", README.read_text(), re.MULTILINE))
    assert table == {str(severity.exit_code): severity.name for severity in Severity}


def test_every_command_is_introduced():
    text = README.read_text()
    for name in COMMANDS:
        assert f"`opsdoc {name}" in text or f"opsdoc {name} " in text


def test_the_changelog_knows_this_version():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in changelog
    assert f"## [{__version__}]" in changelog
