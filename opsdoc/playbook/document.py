"""Playbook documents: where they are found, and how one becomes a checked `Playbook`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from opsdoc import config, probes
from opsdoc.model import UsageError
from opsdoc.options import did_you_mean
from opsdoc.playbook.nouns import Judgement, Outcome, Parallel, ParamSpec, Playbook, Step

__all__ = [
    "Judgement",
    "Outcome",
    "Parallel",
    "ParamSpec",
    "Playbook",
    "Step",
    "limit_names",
    "load",
    "parse",
    "read",
    "read_shipped",
    "shipped",
    "steps_of",
]

STDIN = "stdin"
_SUFFIX = ".yml"


def load(name: str, stdin: Callable[[], bytes]) -> Playbook:
    """The playbook of a shipped name, a path, or `-` for standard input. Raises UsageError."""
    return parse(*read(name, stdin))


def read(name: str, stdin: Callable[[], bytes]) -> tuple[bytes, str]:
    """The bytes of the same, and how the file is called. A shipped name goes before a file of that name."""
    if name == "-":
        return stdin(), STDIN
    if name in shipped():
        return read_shipped(name), name + _SUFFIX
    path = Path(name)
    data, why = config.contents(path)
    if data is not None:
        return data, name
    if why:
        raise UsageError(f"cannot read {name}: {why}; a pipe is read with -")
    known = shipped()
    near = did_you_mean(name, known) or f"; opsdoc comes with {', '.join(known)}"
    raise UsageError(f"no playbook and no file '{name}'{near}")


def parse(data: bytes, file: str) -> Playbook:
    """A document as a playbook, checked against the probes. Raises UsageError, one line for each problem."""
    from opsdoc.playbook.reading import read as read_document

    return read_document(data, file)


def steps_of(playbook: Playbook) -> tuple[Step, ...]:
    """All steps in the order written, those of groups among them."""
    return tuple(step for item in playbook.steps for step in (item.steps if isinstance(item, Parallel) else (item,)))


def limit_names(playbook: Playbook) -> tuple[str, ...]:
    """Every limit that the steps' probes judge by, as `signal.field`."""
    used = dict.fromkeys(step.probe for step in steps_of(playbook))
    return tuple(dict.fromkeys(name for probe in used for name in probes.limit_names(probes.load(probe))))


# ── what comes with opsdoc ───────────────────────────────────────────────────────────────────────


def _folder() -> Path:
    """Within the package where opsdoc was installed (setup.py puts it there), else at the top of the checkout."""
    package = Path(__file__).parent.parent
    installed = package / "playbooks"
    return installed if installed.is_dir() else package.parent / "playbooks"


def shipped() -> tuple[str, ...]:
    """The names of the playbooks that come with opsdoc."""
    return tuple(sorted(path.stem for path in _folder().glob(f"*{_SUFFIX}")))


def read_shipped(name: str) -> bytes:
    """One of them as it is written."""
    return (_folder() / f"{name}{_SUFFIX}").read_bytes()
