"""Fields of a specification whose form Kubernetes, or a browser, would refuse later: a table of forms.

They are asked when a workload is submitted, not when one is read: what was
kept before a rule was there stays readable.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from runai_core.model.errors import MAX_ERRORS, FieldError, InvalidRequest, TooLarge, and_more
from runai_core.model.resources import parse_quantity

MAX_BYTES = 1024**2
"""Bytes of a specification as JSON. Kubernetes takes objects of 1.5 MiB, and a pod repeats most of it."""

_NAME = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_KEY = re.compile(rf"([a-z0-9]([a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_NAME}")
_LABEL = re.compile(rf"({_NAME})?")
_KEY_RULE = (
    "must be at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit; "
    "a domain and '/' may stand before it"
)

Check = Callable[[Any], str | None]


def _form(pattern: re.Pattern[str], rule: str) -> Check:
    return lambda value: None if pattern.fullmatch(str(value)) else rule


def _words(*words: str) -> Check:
    return lambda value: None if value in words else f"must be one of {', '.join(filter(None, words))}"


def _quantity(value: Any) -> str | None:
    try:
        parse_quantity(value)
    except InvalidRequest as error:
        return error.errors[0].message
    return None


_ABSOLUTE: Check = _form(re.compile(r"/.*", re.DOTALL), "must be an absolute path: begin it with /")

_URL: Check = _form(
    re.compile(r"(https?://\S+|[A-Za-z0-9][A-Za-z0-9.-]*(:\d+)?(/\S*)?)?"), "must be a URL of http:// or https://"
)

CHECKS: Mapping[str, Check] = {
    "labels.*.name": _form(_KEY, _KEY_RULE),
    "labels.*.value": _form(
        _LABEL, "must be empty, or at most 63 letters, digits, '-', '_' and '.', ending with a letter or digit"
    ),
    "annotations.*.name": _form(_KEY, _KEY_RULE),
    "image": _form(re.compile(r"[^\s\x00-\x1f]*"), "must not contain blanks"),
    "ports.*.serviceType": _words("ClusterIP", "NodePort", "LoadBalancer"),
    "exposedUrls.*.url": _URL,
    "relatedUrls.*.url": _URL,
    "security.supplementalGroups": _form(
        re.compile(r"(\d{1,10}([;,] ?\d{1,10})*)?"), "must be numbers of groups, separated by ;"
    ),
    "storage.emptyDirVolume.*.medium": _words("", "Memory"),
    "storage.emptyDirVolume.*.sizeLimit": _quantity,
    "storage.pvc.*.claimInfo.size": _quantity,
    "storage.nfs.*.path": _ABSOLUTE,
    "storage.hostPath.*.path": _ABSOLUTE,
}
"""Path of a field, ``*`` for each item of a list -> what is wrong with a value, if anything is."""


def check_forms(spec: Mapping[str, Any], at: str = "spec") -> None:
    """Refuse values of a specification, in the API's form, that nothing could work with.

    Raises:
        InvalidRequest: names each field. TooLarge: it is over `MAX_BYTES`.
    """
    if len(json.dumps(spec, default=str)) > MAX_BYTES:
        raise TooLarge(f"{at} is larger than {MAX_BYTES} bytes as JSON: give large values as files")
    wrong = [
        FieldError(f"{at}.{path}", message, value)
        for field, check in CHECKS.items()
        for path, value in _values(spec, field.split("."), "")
        if value is not None and (message := check(value))
    ]
    if wrong:
        raise InvalidRequest.of(*wrong[:MAX_ERRORS], *and_more(len(wrong) - MAX_ERRORS))


def _values(found: Any, path: list[str], at: str) -> Iterator[tuple[str, Any]]:
    """Yield each place that the path means, with its value; entries that are left out are not asked."""
    if not path:
        yield at.lstrip("."), found
    elif path[0] == "*":
        for index, item in enumerate(found if isinstance(found, list | tuple) else ()):
            if not item.get("exclude"):
                yield from _values(item, path[1:], f"{at}.{index}")
    elif isinstance(found, Mapping) and path[0] in found:
        yield from _values(found[path[0]], path[1:], f"{at}.{path[0]}")
