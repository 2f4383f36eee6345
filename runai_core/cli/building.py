"""From the flags of `submit` to the request; pure but for the user's own id."""

import math
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from runai_core.cli.entries import VARIABLE, read_entry
from runai_core.cli.options import Flag
from runai_core.client.specs import put, settle
from runai_core.model.errors import FieldError, InvalidRequest


@dataclass(slots=True)
class Draft:
    """A request in the making."""

    spec: dict[str, Any] = field(default_factory=dict)
    master: dict[str, Any] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)


def fill(flags: Sequence[Flag], given: Mapping[str, Any], command: Sequence[str] = ()) -> Draft:
    """Return the request that the flags describe; `given` is by the name of `parameter`.

    Raises:
        InvalidRequest: a value has a wrong form; names the flag.
    """
    draft = Draft()
    for flag in flags:
        value = given.get(parameter(flag))
        if value is None or value is False or value == ():
            continue
        if flag.path in _SPECIAL:
            _SPECIAL[flag.path](draft.spec, value)
        else:
            _place(draft, flag, flag.constant if flag.kind == "flag" else value)
    if command:
        draft.spec["command"] = shlex.join(command)
    settle(draft.spec)
    settle(draft.master)
    return draft


def parameter(flag: Flag) -> str:
    """Return the name under which click hands the flag's value on; unique even where two flags share a path."""
    return flag.names[-1].lstrip("-").replace("-", "_")


def click_option(flag: Flag) -> click.Option:
    """Return the option that click knows a flag by."""
    types: Mapping[str, Any] = {"int": int, "float": NUMBER, "gpus": GPUS, "seconds": SECONDS}
    kind = click.Choice(flag.choices) if flag.choices else types.get(flag.kind, str)
    return click.Option(
        [*flag.names, parameter(flag)],
        type=None if flag.kind == "flag" else kind,
        is_flag=True if flag.kind == "flag" else None,  # False would let the value be left out
        multiple=flag.many,
        help=flag.help,
        metavar="NAME=VALUE" if flag.kind == "named" else "PARTS" if flag.kind == "entry" else None,
    )


class Seconds(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """A duration such as 90, 90s, 5m or 1h30m."""

    name = "duration"
    _form = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9})s?)?")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return whole seconds."""
        if isinstance(value, int):
            return value
        match = self._form.fullmatch(str(value).strip())
        if not match or not any(match.groups()):
            self.fail(f"{str(value)[:80]!r} is not a duration such as 90s, 5m or 1h30m", param, ctx)
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


class Gpus(click.ParamType):  # type: ignore[type-arg]
    """A number of whole devices."""

    name = "devices"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number; a share of a device has a flag of its own."""
        try:
            return int(value)
        except ValueError:
            hint = ": for a share of a GPU use --gpu-portion-request" if "." in str(value) else ""
            self.fail(f"{str(value)[:80]!r} is not a whole number{hint}", param, ctx)


class Number(click.types.FloatParamType):
    """A number that can be counted with: neither infinite nor NaN."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{str(value)[:80]!r} is not a number that can be counted with", param, ctx)
        return number


SECONDS = Seconds()
GPUS = Gpus()
NUMBER = Number()


def _place(draft: Draft, flag: Flag, value: Any) -> None:
    where, _, path = flag.path.rpartition(":")
    target = {"": draft.spec, "master": draft.master, "body": draft.body}[where]
    if flag.many and flag.path != "servingPort":
        _extend(target, path, [_item(flag, item) for item in value])
    else:
        put(target, path, _item(flag, value[-1]) if flag.kind == "entry" else value)


def _item(flag: Flag, value: Any) -> Any:
    if flag.entry:
        return read_entry(flag.entry, value, flag.names[-1])
    return read_entry(VARIABLE, value, flag.names[-1]) if flag.kind == "named" else value


def _extend(target: dict[str, Any], path: str, items: list[Any]) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        target = target.setdefault(parent, {})
    target.setdefault(last, []).extend(items)


def _exclude_nodes(spec: dict[str, Any], names: Sequence[str]) -> None:
    term = {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": list(names)}
    put(spec, "nodeAffinityRequired.nodeSelectorTerms", [{"matchExpressions": [term]}])


def _affinity(kind: str) -> Callable[[dict[str, Any], Any], None]:
    def place(spec: dict[str, Any], key: Any) -> None:
        if "podAffinity" in spec:
            raise InvalidRequest.of(
                FieldError("--required-pod-topology-key", "give it, or the preferred one, not both")
            )
        spec["podAffinity"] = {"type": kind, "key": key}

    return place


def _run_as_user(spec: dict[str, Any], _yes: Any) -> None:
    put(spec, "security.uidGidSource", "custom")
    put(spec, "security.runAsUid", os.getuid())
    put(spec, "security.runAsGid", os.getgid())


_SPECIAL: Mapping[str, Callable[[dict[str, Any], Any], None]] = {
    "nodeAffinityRequired": _exclude_nodes,
    "podAffinity.preferred": _affinity("Preferred"),
    "podAffinity.required": _affinity("Required"),
    "body:runAsUser": _run_as_user,
}
"""Paths whose value needs a form of its own."""
