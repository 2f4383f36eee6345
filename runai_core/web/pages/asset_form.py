"""Forms of assets, made from the model: one input for each member of the kind's specification.

What is secret is never in a form: an empty input leaves it as it is.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import EnumMeta
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from runai_core.model.assets import CREDENTIALS, DATA_SOURCES, SPECS, AssetKind
from runai_core.model.errors import FieldError, NotFound
from runai_core.model.meta import to_camel
from runai_core.policy.fields import ValueType
from runai_core.policy.tree import copied, drop_at, get_at, set_at
from runai_core.service.secrets import SECRET_MEMBERS
from runai_core.web.pages.inputs import Input, Option, Posted, Section, Widget, rows_of, text_of, with_rows
from runai_core.web.pages.shown import in_words
from runai_core.web.pages.values import pruned, read_value, text_of_value, yaml_of, yaml_text
from runai_core.web.pages.workload_fields import LIFE, OPEN, ROWS, SECTIONS, SECURITY, FormField
from runai_core.web.pages.workload_form import MORE

KINDS: Mapping[AssetKind, str] = {
    AssetKind.ENVIRONMENT: "environment",
    AssetKind.COMPUTE: "compute resource",
    AssetKind.HOST_PATH: "host path",
    AssetKind.NFS: "NFS directory",
    AssetKind.PVC: "volume claim",
    AssetKind.GIT: "git repository",
    AssetKind.S3: "S3 bucket",
    AssetKind.CONFIG_MAP: "config map",
    AssetKind.SECRET: "secret as files",
    AssetKind.ACCESS_KEY: "access key",
    AssetKind.PASSWORD: "password",
    AssetKind.DOCKER_REGISTRY: "docker registry",
    AssetKind.GENERIC_SECRET: "generic secret",
    AssetKind.NGC_API_KEY: "NGC API key",
    AssetKind.REGISTRY: "image registry",
}
"""Kind -> what people call it."""

GROUPS: Mapping[str, tuple[AssetKind, ...]] = {
    "Environments and compute": (AssetKind.ENVIRONMENT, AssetKind.COMPUTE),
    "Data sources": DATA_SOURCES,
    "Credentials": CREDENTIALS,
    "Registries": (AssetKind.REGISTRY,),
}

TABLES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "environmentVariables": (
        ("name", "Name"),
        ("value", "Value"),
        ("credential.assetId", "or credential (id)"),
        ("credential.key", "key of it"),
    ),
    "keyValuePairs": (("key", "Key"), ("value", "Value")),
    "extendedResources": (("resource", "Resource"), ("quantity", "Quantity")),
}
"""Members with several entries: the columns of their tables."""

CREDENTIAL_OF: Mapping[str, AssetKind] = {
    "passwordAssetId": AssetKind.PASSWORD,
    "accessKeyAssetId": AssetKind.ACCESS_KEY,
    "credentialAssetId": AssetKind.GENERIC_SECRET,
}
"""Members that name a credential by its id."""

_SCALARS: Mapping[type[Any], ValueType] = {
    bool: ValueType.BOOLEAN,
    int: ValueType.INTEGER,
    float: ValueType.NUMBER,
    str: ValueType.STRING,
}
_YES_NO = (Option("true", "yes"), Option("false", "no"))


OF_WORKLOADS: Mapping[str, FormField] = {re.sub(r"^(security|compute)\.", "", row.path): row for row in ROWS}
"""Member -> the row of the New Workload form for the same field: its label, unit, choices and section."""

HANDLER = "probes.readiness.handler.httpGet"

OWN_LABELS: Mapping[str, tuple[str, str]] = {
    **{f"{HANDLER}.{name}": (f"Readiness: {name}", LIFE) for name in ("path", "port", "host", "scheme")},
    "overrideUidGidInWorkspace": ("Users may choose other ids", SECURITY),
    "passwordAssetId": ("Password", ""),
    "accessKeyAssetId": ("Access key", ""),
    "credentialAssetId": ("Credential", ""),
    "credentialId": ("Credential", ""),
}
"""Member that no workload has -> its label and section, where its name says too little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One member of a specification that an input can show."""

    path: str
    kind: ValueType
    help: str = ""
    required: bool = False
    choices: tuple[str, ...] = ()


@cache
def members_of(kind: AssetKind) -> tuple[Member, ...]:
    """Return the members that have an input of their own, in the order of the model."""
    return tuple(_members(SPECS[kind], ""))


def posted_spec(kind: AssetKind, spec: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return what a browser would post for the specification as it is kept, without what is secret."""
    left: dict[str, Any] = copied(spec)
    posted: dict[str, list[str]] = {}
    for member in members_of(kind):
        value = get_at(left, member.path)
        if value is not None:
            posted[member.path] = [text_of_value(value)]
            drop_at(left, member.path)
    for name, columns in TABLES.items():
        for item in left.pop(name, ()):
            for column, _ in columns:
                posted.setdefault(f"{name}:{column}", []).append(text_of_value(get_at(item, column)))
    left = pruned(left)
    return posted | ({MORE: [yaml_text(left)]} if left else {})


def spec_of(kind: AssetKind, posted: Posted) -> tuple[dict[str, Any], list[FieldError]]:
    """Return the specification that was written, and what could not be read."""
    spec, errors = yaml_of(posted, MORE)
    for member in members_of(kind):
        text = text_of(posted, member.path)
        if text:
            try:
                set_at(spec, member.path, read_value(member.kind, text))
            except ValueError as error:
                errors.append(FieldError(member.path, str(error), text[:80]))
    for name in _tables(kind):
        items: list[dict[str, Any]] = []
        for cells in rows_of(posted, name, [column for column, _ in TABLES[name]]):
            item: dict[str, Any] = {}
            for column, text in cells.items():
                set_at(item, column, text)
            items.append(item)
        if items:
            spec[name] = items
    return spec, errors


def sections_of(
    kind: AssetKind,
    posted: Posted,
    scopes: Sequence[str],
    credentials: Mapping[AssetKind, Sequence[tuple[str, str]]],
    *,
    is_new: bool,
) -> tuple[Section, ...]:
    """Return the form; `credentials` are id and title of those that it may name, by kind."""
    general = Section(title="", inputs=general_inputs(posted, scopes, is_new=is_new, name="meta.name"))
    inputs = [_input(kind, member, posted, credentials, is_new=is_new) for member in members_of(kind)]
    inputs += [table_of(kind, name, posted, is_new=is_new) for name in _tables(kind)]
    more = Input(
        name=MORE,
        label="More fields",
        widget=Widget.CODE,
        value=text_of(posted, MORE),
        help="Fields of the API that have no input here, as YAML.",
    )
    other = Section(title="Other", inputs=(more,), is_open=bool(more.value))
    return (general, *_grouped(KINDS[kind], inputs), other)


def _grouped(title: str, inputs: Sequence[Input]) -> Iterator[Section]:
    """Yield the sections in which the inputs stand in the New Workload form; what that has not is the kind's own."""
    at = {item.name: _section(item.name) for item in inputs}
    for section in ("", *SECTIONS):
        found = tuple(item for item in inputs if at[item.name] == section)
        if found:
            is_open = not section or section in OPEN or any(item.value or item.required for item in found)
            yield Section(title=section or title[:1].upper() + title[1:], inputs=found, is_open=is_open)


SCOPE_FIELDS = ("meta.scope", "meta.departmentId", "meta.projectId")


def at_scope(errors: Sequence[FieldError]) -> list[FieldError]:
    """Return the errors at the inputs of a form: there is one for the scope and its name."""
    return [FieldError("scope", item.message, item.given) if item.field in SCOPE_FIELDS else item for item in errors]


def general_inputs(posted: Posted, scopes: Sequence[str], *, is_new: bool, name: str) -> tuple[Input, ...]:
    """Return name, scope and description."""
    return (
        Input(
            name=name,
            label="Name",
            value=text_of(posted, name),
            required=True,
            help="Lower-case letters, digits and '-'.",
        ),
        Input(
            name="scope",
            label="Scope",
            widget=Widget.SELECT,
            value=text_of(posted, "scope"),
            options=tuple(Option(scope, scope.replace("/", " ")) for scope in scopes),
            required=is_new,
            locked=not is_new,
            help="It can be used in all that lies below.",
        ),
        Input(name="description", label="Description", value=text_of(posted, "description")),
    )


def _input(
    kind: AssetKind,
    member: Member,
    posted: Posted,
    credentials: Mapping[AssetKind, Sequence[tuple[str, str]]],
    *,
    is_new: bool,
) -> Input:
    is_secret = member.path in SECRET_MEMBERS.get(kind, ())
    known = OF_WORKLOADS.get(member.path)
    options = tuple(
        Option(choice) for choice in member.choices or (known.entry.choices or known.options if known else ())
    )
    if member.kind is ValueType.BOOLEAN:
        options = _YES_NO
    if member.path in CREDENTIAL_OF:
        options = tuple(Option(uid, title) for uid, title in credentials.get(CREDENTIAL_OF[member.path], ()))
    widget = Widget.SELECT if options else _WIDGETS.get(member.kind, Widget.TEXT)
    return Input(
        name=member.path,
        label=_label(member.path),
        widget=Widget.PASSWORD if is_secret else widget,
        value="" if is_secret else text_of(posted, member.path),
        options=options,
        help=member.help + ("" if is_new or not is_secret else " Left empty, it stays as it is."),
        required=member.required,
        unit=known.unit if known else "",
    )


_WIDGETS: Mapping[ValueType, Widget] = {ValueType.INTEGER: Widget.NUMBER, ValueType.NUMBER: Widget.NUMBER}


def table_of(kind: AssetKind, name: str, posted: Posted, *, is_new: bool) -> Input:
    """Return the table of a member with several entries; raise NotFound where the kind has none of this name."""
    if name not in _tables(kind):
        raise NotFound("there is no such table")
    columns = TABLES[name]
    is_secret = name in SECRET_MEMBERS.get(kind, ())
    table = Input(
        name=name,
        label=_label(name),
        widget=Widget.ROWS,
        columns=tuple(
            Input(
                name=f"{name}:{column}",
                label=heading,
                widget=Widget.PASSWORD if is_secret and column == "value" else Widget.TEXT,
            )
            for column, heading in columns
        ),
        help="" if is_new or not is_secret else "Left empty, they stay as they are.",
    )
    rows = [] if is_secret else rows_of(posted, name, [column for column, _ in columns])
    return with_rows(table, rows, spare=4 if is_secret else 2)


def _tables(kind: AssetKind) -> list[str]:
    names = {to_camel(item.name) for item in fields(SPECS[kind])}
    return [name for name in TABLES if name in names]


def _members(model: type[Any], at: str) -> Iterator[Member]:
    hints = get_type_hints(model)
    for item in fields(model):
        path = f"{at}.{to_camel(item.name)}" if at else to_camel(item.name)
        hint = _without_none(hints[item.name])
        if is_dataclass(hint) and isinstance(hint, type):
            yield from _members(hint, path)
        elif hint in _SCALARS or isinstance(hint, EnumMeta):
            yield Member(
                path=path,
                kind=_SCALARS.get(hint, ValueType.STRING),
                help=item.metadata.get("description", ""),
                required=not at and item.metadata.get("min_length", 0) > 0,
                choices=tuple(map(str, hint)) if isinstance(hint, EnumMeta) else (),
            )


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (Union, UnionType):
        others = [part for part in get_args(hint) if part is not type(None)]
        return others[0] if len(others) == 1 else hint
    return hint


def _section(path: str) -> str:
    if path in OF_WORKLOADS:
        return OF_WORKLOADS[path].section
    return OWN_LABELS.get(path, ("", ""))[1]


ACRONYMS = frozenset({"api", "cpu", "gpu", "id", "nfs", "ngc", "pvc", "s3", "url"})


def _label(path: str) -> str:
    """Return what the New Workload form calls the member, or else its name in words (``NGC API key``)."""
    if path in OF_WORKLOADS:
        return OF_WORKLOADS[path].label
    if path in OWN_LABELS:
        return OWN_LABELS[path][0]
    words = [
        word for part in re.sub(r"^claimInfo\.(accessModes\.)?", "", path).split(".") for word in in_words(part).split()
    ]
    said = " ".join(word.upper() if word.lower() in ACRONYMS else word for word in words)
    return said[:1].upper() + said[1:]
