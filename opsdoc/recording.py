"""Record what the world answered, and replay it: a fixture, a bug report and a case file in one."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from opsdoc import model
from opsdoc.clients import Bulk, Live, Question
from opsdoc.files import write_atomically, write_folder
from opsdoc.host import Answer, Host, LiveHost, Outcome
from opsdoc.model import NotRecorded, ProbeError, UsageError
from opsdoc.redact import Redactor

T = TypeVar("T")

FORMAT = "opsdoc.recording/1"
INDEX = "recording.json"
CASE, STEPS = "case.json", "steps"  # of several recordings: what they are, and the folder with one folder for each
SLEEP = "sleep"
SIZE_CAP = 1 << 30  # of all parts of a recording, unpacked: an archive from a ticket may be hostile
_ERRORS: Mapping[str, type[ProbeError]] = {
    kind.reason: kind
    for kind in (
        model.Unreachable,
        model.TimedOut,
        model.Denied,
        model.Unsupported,
        model.Malformed,
        model.NotRecorded,
        model.Interrupted,
    )
}


class RecordingHost(LiveHost):
    """A live host that keeps every answer.

    The probe is given the answer as it was recorded (masked, through JSON and back), so that the report made now and
    the report made from the recording come from the same data.
    """

    def __init__(self, live: Live, started: str) -> None:
        super().__init__(live, started)
        self._entries: dict[str, list[dict[str, Any]]] = {}
        self._blobs: dict[str, bytes] = {}
        self._under_way: list[str] = []  # the keys of questions that have no answer yet
        self._closed = False  # for answers that come when the recording is being written
        self._lock = threading.Lock()

    def sleep(self, seconds: float) -> None:
        at = self.now()
        try:
            super().sleep(seconds)
        except ProbeError as error:
            self._keep(SLEEP, at, self.now() - at, {"error": _error(error)})
            raise
        self._keep(SLEEP, at, self.now() - at, {"answer": None})

    def save(self, path: Path, about: Mapping[str, Any]) -> None:
        """Write the recording; see `parts` and `write_recording`."""
        write_recording(path, self.parts(about))

    def parts(self, about: Mapping[str, Any]) -> dict[str, bytes]:
        """The recording as files by their names; nothing is kept any more.

        `about` says which probe was run with which options, and whether it was cut short by `timeout` or `interrupted`.
        """
        late = _ERRORS.get(about["cut_short"], model.TimedOut)("no answer came before the end of the run")
        for key in self._under_way[:]:
            self._keep(key, self.now(), 0.0, {"error": _error(late)})
        with self._lock:
            self._closed = True
        index = {
            "format": FORMAT,
            "tool": about["tool"],
            "probe": about["probe"],
            "options": about["options"],
            "cut_short": about["cut_short"],
            "started": self.started,
            "redactions": self.redactor.counts,
            "answers": self._entries,
        }
        return {INDEX: json.dumps(index, indent=1).encode() + b"\n", **self._blobs}

    @contextlib.contextmanager
    def _asking(self, question: Question[Any]) -> Iterator[None]:
        key = question.key()
        self._under_way.append(key)
        try:
            yield
        finally:
            self._under_way.remove(key)

    def _settled(self, question: Question[T], outcome: Outcome) -> Answer[T]:
        """The answer as it was recorded."""
        answer, ended = outcome
        if isinstance(answer, ProbeError):
            self._keep(question.key(), ended, 0.0, {"error": _error(answer)})
            return super()._settled(question, outcome)
        value: Any = answer.value
        if isinstance(question, Bulk):
            value = question.recorded(value, self.redactor)
        if isinstance(value, bytes):
            kept: dict[str, Any] = {"blob": value}
        else:
            value = json.loads(json.dumps(value))
            kept = {"answer": value}
        self._keep(question.key(), answer.at, answer.took, kept)
        return super()._settled(question, Outcome(Answer(value, answer.at, answer.took), ended))

    def _keep(self, key: str, at: float, took: float, what: dict[str, Any]) -> None:
        with self._lock:
            if self._closed:
                return
            if "blob" in what:
                name = f"blobs/{len(self._blobs) + 1:04}"
                self._blobs[name] = what["blob"]
                what = {"blob": name}
            self._entries.setdefault(key, []).append({"at": at, "took": round(took, 6), **what})


class ReplayHost(Host):
    """A host that answers from a recording. Its clock moves to the time at which each answer came."""

    def __init__(self, path: Path, parts: Mapping[str, bytes] | None = None) -> None:
        """`parts` are those of the one recording, where `path` holds several."""
        self._parts = read_parts(path) if parts is None else parts
        index = _read_index(path, self._parts)
        self.probe: str = index["probe"]
        self.options: dict[str, Any] = index["options"]
        self.cut_short: str | None = index["cut_short"]
        self.started = index["started"]
        self.redactor = Redactor()
        self.redactor.counts.update(index["redactions"])
        self._answers: dict[str, list[dict[str, Any]]] = index["answers"]
        self._next: dict[str, int] = {}
        self._now = 0.0

    def ask(self, question: Question[T]) -> Answer[T]:
        answer = self._replay(question.key())
        if isinstance(answer, ProbeError):
            raise answer
        return answer

    def start(self, question: Question[T], within: float | None = None) -> Callable[[], Answer[T] | ProbeError]:  # noqa: ARG002 - what was late is recorded as such
        return lambda: self._replay(question.key())

    def sleep(self, seconds: float) -> None:
        answer = self._replay(SLEEP)
        if isinstance(answer, NotRecorded):
            self._now += seconds
        elif isinstance(answer, ProbeError):
            raise answer

    def now(self) -> float:
        return self._now

    def _replay(self, key: str) -> Answer[Any] | ProbeError:
        position = self._next.get(key, 0)
        entries = self._answers.get(key, [])
        if position >= len(entries):
            return NotRecorded(f"the recording has no answer to: {key}")
        self._next[key] = position + 1
        entry = entries[position]
        self._now = max(self._now, round(entry["at"] + entry["took"], 6))
        if "error" in entry:
            error = entry["error"]
            return _ERRORS.get(error["reason"], ProbeError)(error["detail"], error["hint"])
        value = self._parts[entry["blob"]] if "blob" in entry else entry["answer"]
        return Answer(value, entry["at"], entry["took"])


def write_recording(path: Path, parts: Mapping[str, bytes]) -> None:
    """Write a recording to a folder, or to one file if the name ends in `.tar.gz`; mode 0600. Raises UsageError."""
    if path.name.endswith(".tar.gz"):
        write_atomically(path, _packed(parts))
    else:
        write_folder(path, parts)


def _error(error: ProbeError) -> dict[str, str]:
    return {"reason": error.reason, "detail": error.detail, "hint": error.hint}


def _packed(parts: Mapping[str, bytes]) -> bytes:
    import io
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in parts.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.mode = 0o600
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def read_parts(path: Path) -> dict[str, bytes]:
    """All parts of a recording, or of a case with several, in memory: nothing of an archive is unpacked onto the disk.

    Raises UsageError for what is neither a folder nor a `.tar.gz`.
    """
    import tarfile  # here and above: with its compressors it would cost every start 5 ms
    import zlib

    try:
        if path.is_dir():
            # Whatever else is there is not ours to read.
            names = (INDEX, "blobs/*", CASE, f"{STEPS}/*/{INDEX}", f"{STEPS}/*/blobs/*")
            found = sorted(part for name in names for part in path.glob(name))
            return {
                str(part.relative_to(path)): part.read_bytes()
                for part in found
                if part.is_file() and not part.is_symlink()
            }
        if path.exists() and not path.is_file():  # a pipe would never end
            raise UsageError(f"cannot replay {path}: not a folder or a .tar.gz")
        parts: dict[str, bytes] = {}
        left = SIZE_CAP
        with tarfile.open(path, mode="r:gz") as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.isfile() else None
                if stream is not None:
                    left -= member.size
                    if left < 0:
                        raise UsageError(f"{path} is larger than 1 GiB unpacked")
                    parts[member.name] = stream.read()
            if archive.fileobj is not None:
                archive.fileobj.read(1 << 20)  # what is left is padding, and the checksum that is compared at its end
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a folder or a .tar.gz"
        raise UsageError(f"cannot replay {path}: {reason}") from None
    return parts


def _read_index(path: Path, parts: Mapping[str, bytes]) -> dict[str, Any]:
    """The index of a recording, checked as far as `ReplayHost` relies on it."""
    try:
        index = json.loads(parts[INDEX])
        if index["format"] != FORMAT:
            raise UsageError(f"cannot replay {path}: its format is {index['format']!r}, this opsdoc reads {FORMAT!r}")
        for entries in index["answers"].values():
            for entry in entries:
                _check_entry(entry, parts)
        for name, kind in (("probe", str), ("options", dict), ("started", str), ("redactions", dict)):
            if not isinstance(index[name], kind):
                raise TypeError(name)
        if not all(isinstance(count, int) for count in index["redactions"].values()):
            raise TypeError("redactions")
        if index.setdefault("cut_short", None) not in (None, "timeout", "interrupted"):
            raise ValueError("cut_short")
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        raise UsageError(f"cannot replay {path}: it is not a recording of opsdoc") from None
    return cast("dict[str, Any]", index)


def _check_entry(entry: Mapping[str, Any], parts: Mapping[str, bytes]) -> None:
    if not isinstance(entry["at"] + entry["took"], float | int):
        raise TypeError("at")
    if "error" in entry:
        error = entry["error"]
        if not all(isinstance(error[name], str) for name in ("reason", "detail", "hint")):
            raise TypeError("error")
    elif "blob" in entry:
        parts[entry["blob"]]
    else:
        entry["answer"]
