"""Numbers and times as people read them; the templates' filters."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import jinja2
from markupsafe import Markup, escape

from runai_core.model.resources import MILLI

GIB = 1024**3

STEPS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def duration(seconds: float | None) -> str:
    """Return a length of time in its two largest units: 3700 -> ``1 h 1 min``."""
    if seconds is None:
        return ""
    rest = int(max(seconds, 0))
    parts: list[str] = []
    for size, unit in STEPS:
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append(f"{count} {unit}" if count else "")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if part) or "0 s"


def ago(seconds: float | None, now: float) -> str:
    """Return how long a moment is past, or ahead."""
    if seconds is None:
        return ""
    gap = now - seconds
    if abs(gap) < 1:
        return "now"
    first = duration(abs(gap)).split(" ")
    near = " ".join(first[:2])
    return f"{near} ago" if gap > 0 else f"in {near}"


@jinja2.pass_context
def moment(context: jinja2.runtime.Context, seconds: float | None) -> Markup:
    """Return a time element: machine-readable, relative for people, exact in its title."""
    if seconds is None or seconds == 0:
        return Markup("")
    exact = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(exact, glued(ago(seconds, context["now"])))


def glued(text: str) -> str:
    """Return a text in which no line ends between a number and its unit."""
    return re.sub(r"(?<=\d) (?=[a-z])", "\u00a0", text)


def number(value: float | None) -> str:
    """Return a number with at most two decimals, none where it is whole."""
    return "" if value is None else f"{value:.2f}".rstrip("0").rstrip(".")


def gib(amount: float | None) -> str:
    """Return bytes in GiB; small amounts keep two significant digits."""
    if amount is None:
        return ""
    value = amount / GIB
    return f"{number(value) if value >= 0.01 or not value else f'{value:.2g}'} GiB"


def thousandths(amount: float | None) -> str:
    """Return thousandths (millicores, parts of a GPU) as whole units: 1500 -> 1.5."""
    return "" if amount is None else number(amount / MILLI)


def percent(share: float | None) -> str:
    """Return a share of 1 in percent."""
    return "" if share is None else f"{share * 100:.0f} %"


def sentence(text: str) -> str:
    """Return a text that begins with a capital letter."""
    return text[:1].upper() + text[1:]


def in_words(name: str) -> str:
    """Return a name of the API as words: ``WaitingForQuota`` -> ``Waiting for quota``."""
    first, *others = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[^A-Z]+", name) or [name]
    return " ".join([first, *(word if word.isupper() else word.lower() for word in others)])


def coded(text: str) -> Markup:
    """Return a text with what stands between backticks as code; all of it is escaped."""
    parts = [escape(part) for part in text.split("`")]
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup("").join(Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(parts))


def breakable(text: object) -> Markup:
    """Return a text that may be broken after what joins words in names, addresses and paths; all of it is escaped."""
    return Markup("<wbr>").join(re.split(r"(?<=[@/_:=])(?=\w)", str(text)))


FILTERS: Mapping[str, Callable[..., Any]] = {
    "moment": moment,
    "duration": lambda seconds: glued(duration(seconds)),
    "number": number,
    "gib": gib,
    "thousandths": thousandths,
    "percent": percent,
    "sentence": sentence,
    "coded": coded,
    "breakable": breakable,
    "in_words": in_words,
}
