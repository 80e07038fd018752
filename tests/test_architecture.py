"""What holds for the whole house: who imports whom, what is never imported early, what is never done to a target."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from opsdoc import clients, probes
from opsdoc.model import Limit
from opsdoc.signals import cpu_cause

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "opsdoc").rglob("*.py"))
TREES = {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in SOURCES}
PROBES = [probes.load(name) for name in probes.names()]

# What may be imported before it is needed, and where.
EARLY = {
    "opsdoc/commands/": {"typer"},
    "opsdoc/render/html.py": {"jinja2", "markupsafe"},
}
# Where signals are sent: to a JVM that was proven to handle it, to our own children, and to ourselves.
SIGNALLERS = {
    "opsdoc/clients/hotspot.py": {"pidfd_send_signal"},
    "opsdoc/clients/command.py": {"killpg"},
    "opsdoc/commands/demo.py": {"killpg"},
    "opsdoc/stop.py": {"raise_signal"},
}
SENDING = {"kill", "killpg", "pidfd_send_signal", "pthread_kill", "raise_signal", "send_signal", "terminate"}
NEVER = {"pickle", "marshal", "shelve", "requests", "urllib.request", "http.client", "ctypes"}


def _early(tree: ast.AST) -> Iterator[str]:
    """The modules that are imported with a module, not inside its functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from (name for other in node.orelse for name in _early(other))
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _early(node)


def _all_imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def _python(script: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_the_import_contracts_hold():
    pytest.importorskip("importlinter", reason="import-linter is not installed here; make check installs and runs it")
    script = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(cache_dir=None))"
    done = _python(script)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", TREES)
def test_nothing_of_others_is_imported_before_it_is_needed(file):
    allowed = {name for place, names in EARLY.items() if file.startswith(place) for name in names}
    own = {*sys.stdlib_module_names, "opsdoc"}
    early = {name.partition(".")[0] for name in _early(TREES[file])} - own
    assert early <= allowed


@pytest.mark.parametrize("file", [file for file in TREES if file != "opsdoc/commands/order_pricer.py"])
def test_some_modules_are_never_imported(file):
    assert NEVER.isdisjoint(_all_imports(TREES[file]))


@pytest.mark.parametrize("file", TREES)
def test_signals_are_sent_in_few_places_only(file):
    called = {
        node.func.attr
        for node in ast.walk(TREES[file])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert called & SENDING <= SIGNALLERS.get(file, set())


@pytest.mark.parametrize("file", TREES)
def test_no_child_goes_through_a_shell(file):
    for node in ast.walk(TREES[file]):
        if isinstance(node, ast.Call):
            assert "shell" not in [keyword.arg for keyword in node.keywords]
        elif isinstance(node, ast.Attribute):
            assert node.attr not in ("system", "popen") or not isinstance(node.value, ast.Name) or node.value.id != "os"


@pytest.mark.parametrize("file", TREES)
def test_every_module_says_in_one_line_what_it_is(file):
    doc = ast.get_docstring(TREES[file])
    if doc is None:
        assert not TREES[file].body, "a module with code begins with a line that says what it is"
        return
    first = doc.partition("\n")[0]
    assert first.endswith(".")
    assert len(first) <= 120


def test_finding_the_probes_imports_none_of_them():
    script = "import sys; from opsdoc import probes; probes.names(); print(*sys.modules)"
    done = _python(script)
    assert "opsdoc.probes" in done.stdout.split(), done.stderr
    imported = {module.removeprefix("opsdoc.probes.").replace("_", "-") for module in done.stdout.split()}
    assert not imported & set(probes.names())  # a folder of probes is a package, which is imported to be listed


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_a_probe_tells_what_it_does_and_who_judges(probe):
    assert probe.help.endswith(".")
    assert probe.example.startswith(f"opsdoc {probe.name.replace('.', ' ')}")
    assert probe.judges
    for judge in probe.judges:
        assert inspect.isgeneratorfunction(judge.judge)
        for name, limit in judge.Limits()._asdict().items():
            assert isinstance(limit, Limit)
            assert limit.source, f"{name}: a limit says where it comes from"


@pytest.mark.parametrize("module", [m.name for m in pkgutil.iter_modules(clients.__path__)])
def test_a_question_is_a_frozen_record_with_a_key(module):
    found = importlib.import_module(f"{clients.__name__}.{module}")
    for value in vars(found).values():
        if inspect.isclass(value) and value.__module__ == found.__name__ and hasattr(value, "answer"):
            assert issubclass(value, tuple) or not inspect.get_annotations(value), value  # a named tuple, or no fields
            assert callable(value.key), value


def test_every_cause_of_hot_cpu_has_its_place_in_the_table():
    rules, limits = set(), set()
    for judge in probes.load("cpu").judges:
        name = judge.__name__.rpartition(".")[2]
        limits |= {f"{name}.{field}" for field in judge.Limits._fields}
        texts = [n.value for n in ast.walk(TREES[f"opsdoc/signals/{name}.py"]) if isinstance(n, ast.Constant)]
        rules |= {
            text for text in texts if isinstance(text, str) and re.fullmatch(r"(cpu|box|gc)\.[a-z]+(-[a-z]+)*", text)
        }
    assert rules - limits <= set(cpu_cause.PRECEDENCE) <= rules
