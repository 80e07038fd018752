"""A case: the recordings of all steps of a playbook, to be judged again later, elsewhere, and by a better playbook."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opsdoc import __version__
from opsdoc.clients import Question
from opsdoc.host import Answer, Host
from opsdoc.model import NotRecorded, ProbeError, UsageError
from opsdoc.playbook import parameters
from opsdoc.playbook.nouns import Playbook
from opsdoc.probes import Probe
from opsdoc.recording import CASE, STEPS, ReplayHost, read_parts
from opsdoc.redact import Redactor

FORMAT = "opsdoc.case/1"


class Case:
    """A case file, read. Raises UsageError for what is none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parts = read_parts(path)
        try:
            about = json.loads(self._parts[CASE])
            if about["format"] != FORMAT:
                known = f"its format is {about['format']!r}, this opsdoc reads {FORMAT!r}"
                raise UsageError(f"cannot replay {path}: {known}")
            self.playbook: str = str(about["playbook"])
            self.started: str = str(about["started"])
            self.params: dict[str, str] = {str(name): str(text) for name, text in about["params"].items()}
        except KeyError:
            hint = "a recording of one probe: run that" if "recording.json" in self._parts else "no case of opsdoc"
            raise UsageError(f"cannot replay {path}: it is {hint}") from None
        except (ValueError, TypeError, AttributeError, RecursionError):
            raise UsageError(f"cannot replay {path}: it is no case of opsdoc") from None

    def host(self, step: str, probe: Probe) -> Host:
        """What answers the questions of a step; a step that was not recorded is answered with that."""
        folder = f"{STEPS}/{step}/"
        parts = {name.removeprefix(folder): data for name, data in self._parts.items() if name.startswith(folder)}
        if not parts:
            return _Nothing(f"the case has no step '{step}'")
        host = ReplayHost(self._path, parts)
        if host.probe != probe.name:
            return _Nothing(f"step '{step}' of the case was of the probe '{host.probe}'")
        return host

    @staticmethod
    def parts_of(
        playbook: Playbook, values: Mapping[str, Any], started: str, recordings: Mapping[str, Mapping[str, bytes]]
    ) -> dict[str, bytes]:
        """A case as files by their names."""
        secret = {param.name for param in playbook.params if param.type == "secret"}
        shown = parameters.shown(playbook, values)
        params = {name: text for name, text in shown.items() if name not in secret and values[name] is not None}
        about = {"format": FORMAT, "tool": __version__, "playbook": playbook.name, "started": started, "params": params}
        parts = {CASE: json.dumps(about, indent=1).encode() + b"\n"}
        for step, recording in recordings.items():
            parts |= {f"{STEPS}/{step}/{name}": data for name, data in recording.items()}
        return parts


class _Nothing(Host):
    """A host that has no answer to anything."""

    def __init__(self, reason: str) -> None:
        self.redactor = Redactor()
        self.started = "1970-01-01T00:00:00+00:00"
        self._reason = reason

    def ask(self, question: Question[Any]) -> Answer[Any]:  # noqa: ARG002
        raise NotRecorded(self._reason)

    def start(self, question: Question[Any], within: float | None = None) -> Any:  # noqa: ARG002
        def wait() -> ProbeError:
            return NotRecorded(self._reason)

        return wait

    def sleep(self, seconds: float) -> None:
        pass

    def now(self) -> float:
        return 0.0
