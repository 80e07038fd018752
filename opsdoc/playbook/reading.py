"""A document from YAML to its nouns: the frame and the steps, each checked as it is read."""

from __future__ import annotations

import re
from collections.abc import Iterable

from opsdoc import config, options, probes
from opsdoc.config import Node
from opsdoc.model import UsageError
from opsdoc.options import Param, did_you_mean, limits_from
from opsdoc.playbook import arguments, parameters, types
from opsdoc.playbook.expressions import Type
from opsdoc.playbook.findings import read_findings
from opsdoc.playbook.language.tokens import RESERVED
from opsdoc.playbook.nouns import Parallel, ParamSpec, Playbook, Step
from opsdoc.playbook.problems import Names, Problems, template_of, text_of
from opsdoc.playbook.templates import Template

API = "opsdoc/v1"
KEYS = ("apiVersion", "name", "title", "description", "params", "limits", "steps", "findings")
STEP_KEYS = ("id", "probe", "with", "when", "timeout", "optional")
NAME = re.compile(r"[a-z][a-z0-9-]{0,63}")
STEP_ID = re.compile(r"[a-z][a-z0-9_]{0,63}")
TAKEN = RESERVED | {"params", "steps", "playbook", "item", "true", "false", "null"}
MOST_STEPS = 50
SAMPLERS = ("cpu", "top", "threads", "stack")  # each would measure what the others take


def read(data: bytes, file: str) -> Playbook:
    """The playbook in a document. Raises one UsageError with a line for each problem."""
    problems = Problems()
    playbook = None
    with problems:
        root = config.parse(data, file)
        if root is None or root.value is None:
            raise UsageError(f"{file}:1:1: the playbook is empty")
        playbook = _Reader(root, problems).playbook(file)
    problems.raise_all()
    if playbook is None:  # cannot be: what is missing was told
        raise UsageError(f"{file}:1:1: not a playbook")
    return playbook


class _Reader:
    """Reads one document; what of it is broken has the type `any`, so that one mistake is told once."""

    def __init__(self, root: Node, problems: Problems) -> None:
        self._root = root
        self._problems = problems
        self._params: list[ParamSpec] = []
        self._broken: list[str] = []
        self._steps: dict[str, Type] = {}  # of those that have run
        self._all_ids: list[str] = []
        self._probes: dict[str, str] = {}  # of the steps

    def playbook(self, file: str) -> Playbook:
        """Everything of it, in the order of the document's needs: params, steps, limits, findings."""
        found, frame = self._frame()
        with self._problems:
            if "params" in found:
                self._params, self._broken = parameters.read_params(found["params"], self._problems)
        steps: list[Step | Parallel] = []
        with self._problems:
            steps = self._read_steps(found["steps"]) if "steps" in found else []
        limits: dict[str, tuple[float, float]] = {}
        with self._problems:
            limits = self._limits(found["limits"]) if "limits" in found else {}
        findings = read_findings(found["findings"], self._names(), self._problems) if "findings" in found else ()
        return Playbook(
            frame.get("name", ""),
            frame.get("title", ""),
            frame.get("description", ""),
            tuple(self._params),
            limits,
            tuple(steps),
            findings,
            file,
        )

    def _frame(self) -> tuple[dict[str, Node], dict[str, str]]:
        """The keys of the document, and its texts."""
        with self._problems:
            self._root.mapping("the playbook", KEYS)
        found = {str(key): node for key, node in self._root.mapping("the playbook").items()}
        for needed in ("apiVersion", "name", "title", "steps"):
            with self._problems:
                if needed not in found:
                    raise UsageError(f"{self._root.mark}: the playbook has no '{needed}'")
        with self._problems:
            if "apiVersion" in found and found["apiVersion"].text != API:
                raise UsageError(f"{found['apiVersion'].mark}: apiVersion must be {API}, which this opsdoc reads")
        frame: dict[str, str] = {}
        for name in ("name", "title", "description"):
            with self._problems:
                frame[name] = text_of(found[name], name) if name in found else ""
                if name == "title" and "\n" in frame[name].strip():
                    raise UsageError(f"{found[name].mark}: the title must be one line")
        with self._problems:
            if frame.get("name") and NAME.fullmatch(frame["name"]) is None:
                raise UsageError(f"{found['name'].mark}: write a name such as cpu-hot, not '{frame['name']}'")
        return found, frame

    def _names(self, *, with_secrets: bool = False) -> Names:
        """What expressions can name by now, and the steps that have not run by now."""
        found = types.environment(self._params, self._steps, with_secrets=with_secrets, unknown=self._broken)
        later: dict[str, Type] = {**dict.fromkeys(self._all_ids, "any"), **self._steps}
        return Names(found, types.environment(self._params, later, with_secrets=with_secrets, unknown=self._broken))

    # ── limits ───────────────────────────────────────────────────────────────────────────────────

    def _limits(self, node: Node) -> dict[str, tuple[float, float]]:
        known = [
            name for probe in dict.fromkeys(self._probes.values()) for name in probes.limit_names(probes.load(probe))
        ]
        found: dict[str, tuple[float, float]] = {}
        for name, limit in node.mapping("limits").items():
            with self._problems:
                if name not in known:
                    near = did_you_mean(name, known) or ": no step's probe has one of that name"
                    raise UsageError(f"{name.mark}: no limit '{name}'{near}")
                try:
                    found |= limits_from([f"{name}={text_of(limit, 'a limit')}"], known)
                except UsageError as error:
                    raise UsageError(f"{limit.mark}: {error}") from None
        return found

    # ── steps ────────────────────────────────────────────────────────────────────────────────────

    def _read_steps(self, node: Node) -> list[Step | Parallel]:
        items = _listed(node, "steps")
        flat = [one for item in items for one in _within(item)]
        if len(flat) > MOST_STEPS:
            raise UsageError(f"{flat[MOST_STEPS].mark}: a playbook has at most {MOST_STEPS} steps")
        self._all_ids = [one.value["id"].text for one in flat if isinstance(one.value, dict) and "id" in one.value]
        steps: list[Step | Parallel] = []
        for item in items:
            with self._problems:
                is_group = isinstance(item.value, dict) and "parallel" in item.value
                together = [self._try_step(one) for one in (self._group(item) if is_group else [item])]
                done = tuple(step for step, _ in together if step is not None)
                for step, name in together:  # those of a group do not see each other
                    self._steps[name] = "any" if step is None else types.of_step(step.probe)
                if is_group:
                    steps.append(Parallel(done, item.mark))
                    _check_samplers(done)
                else:
                    steps += done
        return steps

    @staticmethod
    def _group(item: Node) -> list[Node]:
        return _listed(item.record("the group", ("parallel",))["parallel"], "parallel")

    def _try_step(self, node: Node) -> tuple[Step | None, str]:
        """The step, or None where something is wrong with it, and its id."""
        step = None
        with self._problems:
            step = self._step(node)
        keys = node.value if isinstance(node.value, dict) else {}
        return step, keys["id"].text if "id" in keys else ""

    def _step(self, node: Node) -> Step:
        keys = node.record("the step", STEP_KEYS, needed=("id", "probe"))
        name = self._id(keys["id"])
        probe = _probe(keys["probe"])
        self._probes[name] = probe
        when = None
        with self._problems:
            when = self._names().condition(keys["when"], "when") if "when" in keys else None
        given: dict[str, Template | tuple[Template, ...]] = {}
        with self._problems:
            given = self._given(keys.get("with"), probes.load(probe), node)
        return Step(
            name,
            probe,
            given,
            when,
            _duration(keys["timeout"]) if "timeout" in keys else None,
            parameters.is_true(keys["optional"]) if "optional" in keys else False,
            node.mark,
        )

    def _id(self, node: Node) -> str:
        name = text_of(node, "id")
        if STEP_ID.fullmatch(name) is None:
            raise UsageError(f"{node.mark}: write an id in small letters, digits and _, not '{name}'")
        if name in TAKEN:
            raise UsageError(f"{node.mark}: the id '{name}' is taken by the language: choose another one")
        if name in self._probes:
            raise UsageError(f"{node.mark}: there are two steps '{name}'")
        return name

    def _given(self, node: Node | None, probe: probes.Probe, step: Node) -> dict[str, Template | tuple[Template, ...]]:
        params = {param.name: param for param in probe.params}
        written = {} if node is None else node.record(f"the options of '{probe.name}'", params)
        for param in params.values():
            with self._problems:
                if param.required and param.name not in written:
                    raise UsageError(f"{step.mark}: probe '{probe.name}' needs the option '{param.name}'")
        given: dict[str, Template | tuple[Template, ...]] = {}
        for name, one in written.items():
            with self._problems:
                given[name] = self._option(one, params[name])
        return given

    def _option(self, node: Node, param: Param) -> Template | tuple[Template, ...]:
        if param.many and isinstance(node.value, list):
            return tuple(self._one(item, param) for item in node.value)
        return self._one(node, param)

    def _one(self, node: Node, param: Param) -> Template:
        template = template_of(node, f"option '{param.name}'")
        if template.is_plain:
            try:
                param.read(template.text)
            except ValueError as error:
                raise UsageError(f"{node.mark}: bad {param.name} '{template.text}': {error}") from None
            return template
        known = self._names(with_secrets=True).checked(node, template.check_value)
        if (why := arguments.misfit(known, param)) is not None:
            raise UsageError(f"{node.mark}: {why}")
        return template


def _listed(node: Node, what: str) -> list[Node]:
    if not isinstance(node.value, list) or not node.value:
        raise UsageError(f"{node.mark}: {what} must be a list with something in it")
    return node.value


def _within(item: Node) -> list[Node]:
    """The steps of an item of the list: itself, or those of its group."""
    group = item.value.get("parallel") if isinstance(item.value, dict) else None
    return group.value if group is not None and isinstance(group.value, list) else [item]


def _check_samplers(steps: Iterable[Step]) -> None:
    samplers = [step for step in steps if step.probe in SAMPLERS]
    if len(samplers) > 1:
        names = " and ".join(f"'{step.id}'" for step in samplers)
        raise UsageError(
            f"{samplers[1].mark}: {names} both sample the CPU and would measure each other: run them one after another"
        )


def _probe(node: Node) -> str:
    name, known = text_of(node, "probe"), probes.names()
    if name not in known:
        near = did_you_mean(name, known) or f": it is one of {', '.join(known)}"
        raise UsageError(f"{node.mark}: no probe '{name}'{near}")
    return name


def _duration(node: Node) -> float:
    try:
        seconds = options.duration(text_of(node, "timeout"))
    except ValueError as error:
        raise UsageError(f"{node.mark}: bad timeout '{node.text}': {error}") from None
    if seconds <= 0:
        raise UsageError(f"{node.mark}: a timeout must be above 0")
    return float(seconds)
