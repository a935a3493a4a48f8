"""Stages read from KWOK's YAML, as SimKube configures it: pods are led as these files say.

Understood is what SimKube's four files use: selectors by expressions, delays from annotations,
a template of the status, deletion. All else is refused. Events of stages are not sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from simgit.errors import ClusterError, InvalidInput, reason, shown
from simgit.kube.live.api import Object
from simgit.kube.live.nodes import seconds_of
from simgit.kube.live.stages import Stage, Timing, address, with_conditions
from simgit.kube.manifest import lookup

_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ms|us|µs|ns|h|m|s)")
_STEP: Final = re.compile(r'\.?\[\s*\]|\.?\["([^"]*)"\]|\."([^"]*)"|\.([A-Za-z_]\w*)')
_SELECT: Final = re.compile(r'select\(\s*(\S+)\s*==\s*"([^"]*)"\s*\)')


def read_stages(files: Sequence[Path]) -> tuple[Stage, ...]:
    """Read stages; those that delete come first, as a pod that is being deleted does nothing else.

    Raises InvalidInput for a file that cannot be read, and for what is not understood, with the
    stage and the place.
    """
    try:
        import yaml
    except ImportError as error:  # it comes with the package kubernetes
        raise ClusterError("reading stages needs PyYAML: pip install 'simgit[live]'") from error
    found = []
    for file in files:
        try:
            documents = list(yaml.safe_load_all(file.read_text("utf-8")))
        except OSError as error:
            raise InvalidInput(f"cannot read '{file}': {reason(error)}", path=file) from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            told = " ".join(str(error).split())
            raise InvalidInput(f"'{file}' is not YAML: {told}", path=file) from None
        found += [_stage(each, file, yaml.safe_load) for each in documents if each is not None]
    return tuple(sorted(found, key=lambda stage: stage.status is not None))


class _Refusal:
    """The stage that is being read, for messages."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, what: str) -> InvalidInput:
        return InvalidInput(f"stage '{self.name}': {what}", value=self.name)

    def only(self, value: Any, where: str, *known: str) -> Mapping[str, Any]:
        """Return a map; raise for one that has other keys."""
        if not isinstance(value or {}, Mapping):
            raise self(f"{where} must be a map, got {shown(value)}")
        for key in value or {}:
            if key not in known:
                raise self(f"{where}.{key} is not understood")
        return value or {}


def _stage(document: Any, file: Path, load: Callable[[str], Any]) -> Stage:
    if not isinstance(document, Mapping) or document.get("kind") != "Stage":
        raise InvalidInput(f"'{file}' has an object that is no Stage", path=file)
    bad = _Refusal(str(lookup(document, ("metadata", "name")) or file.name))
    spec = bad.only(document.get("spec"), "spec", "resourceRef", "selector", "delay", "next")
    about = bad.only(spec.get("resourceRef"), "resourceRef", "apiGroup", "kind")
    if about.get("kind") != "Pod" or about.get("apiGroup") not in ("v1", "", None):
        raise bad(f"it is for {shown(about.get('kind'))}, and only stages of Pods are played")
    matches = _selector(spec.get("selector"), bad)
    delay = _delay(spec.get("delay"), bad)
    following = bad.only(
        spec.get("next"), "next", "event", "statusTemplate", "patches", "delete", "finalizers"
    )
    deletes = following.get("delete") is True
    template = _status_template(following, bad)
    if deletes == (template is not None):
        raise bad("next must be either delete: true, or the template of a status")
    if template is None:
        return Stage(bad.name, matches, delay, None)
    render = _Template(template, bad)

    def status(pod: Object, now: str) -> Object:
        try:
            made = load(render(pod, now))
        except Exception as error:  # YAML's errors, which are not imported here
            raise bad(f"its template does not give YAML: {' '.join(str(error).split())}") from None
        return with_conditions(pod, dict(made or {}))

    return Stage(bad.name, matches, delay, status)


def _status_template(following: Mapping[str, Any], bad: _Refusal) -> str | None:
    patches = following.get("patches") or ()
    if len(patches) + ("statusTemplate" in following) > 1:
        raise bad("next has several templates")
    if "statusTemplate" in following:
        return str(following["statusTemplate"])
    for patch in patches:
        bad.only(patch, "next.patches", "subresource", "root", "template")
        if (patch.get("subresource"), patch.get("root")) != ("status", "status"):
            raise bad("next.patches must have subresource and root status")
        return str(patch.get("template") or "")
    return None


# Selectors and delays


def _selector(given: Any, bad: _Refusal) -> Callable[[Object, Timing], bool]:
    tests = []
    for each in bad.only(given, "selector", "matchExpressions").get("matchExpressions") or ():
        bad.only(each, "matchExpressions", "key", "operator", "values")
        operator = each.get("operator")
        if operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
            raise bad(f"operator {shown(operator)} is not understood")
        values = [str(value) for value in each.get("values") or ()]
        tests.append((_Query(each.get("key"), bad), operator, values))

    def matches(pod: Object, timing: Timing) -> bool:
        if not lookup(pod, ("spec", "nodeName")):
            return False  # KWOK plays pods of its nodes only
        told = _annotated(pod, timing)
        return all(_holds(query(told), operator, values) for query, operator, values in tests)

    return matches


def _holds(found: Sequence[Any], operator: str, values: Sequence[str]) -> bool:
    if operator in ("Exists", "DoesNotExist"):
        return bool(found) == (operator == "Exists")
    return any(str(each) in values for each in found) == (operator == "In")


def _annotated(pod: Object, timing: Timing) -> Object:
    """Return a pod with the labels and annotations that SimKube's webhook would have given it."""
    labels, annotations = timing.annotations(pod)
    metadata = pod["metadata"]
    return {**pod, "metadata": {
        **metadata,
        "labels": {**labels, **(metadata.get("labels") or {})},
        "annotations": {**annotations, **(metadata.get("annotations") or {})},
    }}  # fmt: skip


def _delay(given: Any, bad: _Refusal) -> Callable[[Object, Timing], float | None]:
    names = ("durationMilliseconds", "jitterDurationMilliseconds")
    sources = ("durationFrom", "jitterDurationFrom")
    delay = bad.only(given, "delay", *names, *sources)
    queries = []
    for source in sources:
        expression = bad.only(delay.get(source), f"delay.{source}", "expressionFrom")
        key = expression.get("expressionFrom")
        queries.append(None if key is None else _Query(key, bad))
    fixed = [None if delay.get(name) is None else int(delay[name]) / 1000 for name in names]

    def seconds(pod: Object, timing: Timing) -> float:
        told = _annotated(pod, timing)
        first, last = (
            next((_seconds(each, timing, bad) for each in (query(told) if query else ())), default)
            for query, default in zip(queries, fixed, strict=True)
        )
        start = first or 0.0
        if last is None:
            return start
        return last if last <= start else start + timing.draw() * (last - start)

    return seconds


def _seconds(value: Any, timing: Timing, bad: _Refusal) -> float:
    """Return a duration as Go writes it, or the time until a moment."""
    text = str(value)
    parts = _DURATION.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return sum(float(number) * _UNITS[unit] for number, unit in parts)
    if text == "0":
        return 0.0
    try:
        datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise bad(f"{shown(value)} is neither a duration nor a time") from None
    return max(0.0, seconds_of(text) - timing.now())


class _Query:
    """An expression of jq: ``.status.conditions.[] | select( .type == "Ready" ) | .status``."""

    def __init__(self, text: Any, bad: _Refusal) -> None:
        self._steps: list[tuple[list[str | None], str | None]] = []
        for part in re.split(r"\s*\|\s*", str(text).strip()):
            chosen = _SELECT.fullmatch(part)
            path = chosen[1] if chosen else part
            steps: list[str | None] = []
            place = 0
            while place < len(path) and (step := _STEP.match(path, place)):
                steps.append(next((name for name in step.groups() if name is not None), None))
                place = step.end()
            if place != len(path) or not steps:
                raise bad(f"expression {shown(text)} is not understood")
            self._steps.append((steps, chosen[2] if chosen else None))

    def __call__(self, value: Any) -> list[Any]:
        found = [value]
        for steps, wanted in self._steps:
            if wanted is None:
                found = [each for item in found for each in _follow(item, steps)]
            else:
                found = [item for item in found if wanted in _follow(item, steps)]
        return found


def _follow(value: Any, steps: Sequence[str | None]) -> list[Any]:
    found = [value]
    for step in steps:
        if step is None:
            found = [each for item in found if isinstance(item, list) for each in item]
        else:
            found = [item.get(step) for item in found if isinstance(item, Mapping)]
        found = [each for each in found if each is not None]
    return found


# Templates: the part of Go's language that the four files use

_ACTION: Final = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.S)
_TOKEN: Final = re.compile(
    r'\s*(\(|\)|\||"(?:[^"\\]|\\.)*"|:=|,|\$?[A-Za-z_]\w*(?:\.\w+)*|\$|(?:\.\w+)+|\.|\d+|\S)'
)
_FUNCTIONS: Final = frozenset({"Now", "Quote", "index", "or", "PodIPWith", "NodeIPWith"})


@dataclass(slots=True)
class _Block:
    """Pieces of a template: text, or actions; a ``range`` has a block of its own."""

    pieces: list[Any]
    names: tuple[str, ...] = ()
    over: Any = None


class _Template:
    """A template of a status; what is not understood is refused when it is read."""

    def __init__(self, text: str, bad: _Refusal) -> None:
        self._bad = bad
        self._root = _Block([])
        stack, place = [self._root], 0
        for action in _ACTION.finditer(text):
            stack[-1].pieces.append(text[place : action.start()])
            place = action.end()
            words = _TOKEN.findall(action[1])
            if words == ["end"]:
                if len(stack) == 1:
                    raise bad("its template has an 'end' too many")
                stack.pop()
            elif words[:1] == ["range"]:
                names, expression = self._names(words[1:])
                block = _Block([], names, self._parse(expression))
                stack[-1].pieces.append(block)
                stack.append(block)
            else:
                names, expression = self._names(words)
                stack[-1].pieces.append((names, self._parse(expression)))
        if len(stack) > 1:
            raise bad("its template lacks an 'end'")
        self._root.pieces.append(text[place:])

    def __call__(self, pod: Object, now: str) -> str:
        self._now = now
        return "".join(self._render(self._root, pod, {"$": pod}))

    def _names(self, words: list[str]) -> tuple[tuple[str, ...], list[str]]:
        if ":=" not in words:
            return (), words
        place = words.index(":=")
        names = tuple(word for word in words[:place] if word != ",")
        if not all(name.startswith("$") for name in names):
            raise self._bad(f"'{' '.join(words)}' is not understood")
        return names, words[place + 1 :]

    def _parse(self, words: list[str]) -> Any:
        """Return a pipeline: a list of commands, each a list of operands."""
        rest = list(words)
        found = self._pipeline(rest)
        if rest or not found[0]:
            raise self._bad(f"'{' '.join(words)}' is not understood")
        return found

    def _pipeline(self, rest: list[str]) -> list[list[Any]]:
        found: list[list[Any]] = [[]]
        while rest and rest[0] != ")":
            word = rest.pop(0)
            if word == "|":
                found.append([])
            elif word == "(":
                found[-1].append(self._pipeline(rest))
                if not rest or rest.pop(0) != ")":
                    raise self._bad("a '(' is not closed in its template")
            else:
                is_value = word[0] in '.$"' or word.isdecimal() or word in ("true", "false")
                if not is_value and word not in _FUNCTIONS:
                    raise self._bad(f"'{word}' is not understood in its template")
                found[-1].append(word)
        if not all(found):
            raise self._bad("a command is missing in its template")
        return found

    def _render(self, block: _Block, dot: Any, names: dict[str, Any]) -> Iterator[str]:
        names = dict(names)
        for piece in block.pieces:
            if isinstance(piece, str):
                yield piece
            elif isinstance(piece, _Block):
                items = self._value(piece.over, dot, names) or ()
                for number, item in enumerate(items):
                    given = (number, item)[-len(piece.names) :] if piece.names else ()
                    yield from self._render(
                        piece, item, {**names, **dict(zip(piece.names, given, strict=True))}
                    )
            else:
                targets, pipeline = piece
                value = self._value(pipeline, dot, names)
                if targets:
                    names[targets[0]] = value
                else:
                    yield "" if value is None else str(value)

    def _value(self, pipeline: list[list[Any]], dot: Any, names: dict[str, Any]) -> Any:
        value: Any = None
        for number, command in enumerate(pipeline):
            arguments = [self._operand(each, dot, names) for each in command[1:]]
            arguments += [value] if number else []
            head = command[0]
            if isinstance(head, str) and head in _FUNCTIONS:
                value = self._call(head, arguments)
            else:
                value = self._operand(head, dot, names)
        return value

    def _operand(self, word: Any, dot: Any, names: dict[str, Any]) -> Any:
        if isinstance(word, list):
            return self._value(word, dot, names)
        if word in _FUNCTIONS:
            return self._call(word, [])
        if word[0] == '"':
            return json.loads(word)
        if word.isdecimal() or word in ("true", "false"):
            return json.loads(word)
        head, *path = word.split(".")
        if head and head not in names:
            raise self._bad(f"'{head}' is not defined in its template")
        return lookup(names[head] if head else dot, [part for part in path if part])

    def _call(self, name: str, arguments: list[Any]) -> Any:
        if name == "Now":
            return self._now
        if name == "Quote":
            return json.dumps("" if arguments[-1] is None else str(arguments[-1]))
        if name == "or":
            return next((each for each in arguments if each), arguments[-1] if arguments else None)
        if name == "index":
            return lookup(arguments[0], arguments[1:]) if arguments[0] else None
        return address(*(str(each) for each in arguments))
