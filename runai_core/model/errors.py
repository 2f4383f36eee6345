"""The exception tree: every error that a user can meet.

    RunaiError
    |- InvalidRequest        a field is wrong                     400, exit 2
    |  |- PolicyViolation    a policy forbids the value           400, exit 2
    |  `- InvalidSnapshot    a snapshot contradicts itself        400, exit 2
    |- Unauthenticated       no valid token                       401, exit 3
    |- Forbidden             the actor lacks the right            403, exit 3
    |- NotFound              no such object                       404, exit 4
    |- Conflict              the state does not allow it          409, exit 5
    |  |- AlreadyExists      the name is taken
    |  |- StaleVersion       somebody else changed it first
    |  `- IllegalTransition  this phase does not know the signal
    |- WatchExpired          the watch is too old: list again     410, exit 1
    |- TooLarge              a body, name or list over its limit  413, exit 2
    |- Unsupported           this kind or backend cannot do it    422, exit 2
    `- Unavailable           try again: database, disk, network   503, exit 6
       `- TooManyRequests    too many tries: wait a while       429, exit 6

One table in `web.app` turns them into status codes and one in `cli.main` into
exit codes. A message says what is wrong, with which object, and what to do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_ERRORS = 20
"""Fields of one request that are named at most: who sent a hundred thousand wrong ones is not helped by more."""

MAX_NAME = 80
"""Characters of the name of a field that are repeated, and that another name is looked for."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field of a request."""

    field: str  # dotted path in the API's names, for example compute.gpuDevicesRequest
    message: str  # what is allowed and what to do
    given: Any = None
    policy: str | None = None  # name and scope of the policy that bit, if one did

    def __str__(self) -> str:
        """Return one line: field, message, the given value, the policy."""
        given = "" if self.given is None else f" (given: {str(self.given)[:80]})"
        policy = "" if self.policy is None else f" [policy {self.policy}]"
        return f"{self.field}: {self.message}{given}{policy}"


def and_more(count: int) -> tuple[FieldError, ...]:
    """Return what to say of so many more errors than are named."""
    return (FieldError("body", f"and {count} more errors"),) if count > 0 else ()


class RunaiError(Exception):
    """Base of all errors that are reported to a user."""

    def __init__(self, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details: Mapping[str, Any] = details or {}


class InvalidRequest(RunaiError):
    """One or more fields are wrong; `errors` names each."""

    def __init__(self, message: str, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(message)
        self.errors = tuple(errors)

    @classmethod
    def of(cls, *errors: FieldError) -> "InvalidRequest":
        """Build the error whose message lists the fields, one after the other."""
        return cls("; ".join(str(error) for error in errors), errors)


class PolicyViolation(InvalidRequest):
    """A policy does not allow one or more values."""


class InvalidSnapshot(InvalidRequest):
    """A snapshot contradicts itself; the message names the object."""


class Unauthenticated(RunaiError):
    """The request carries no valid token."""


class Forbidden(RunaiError):
    """The actor does not have the right; the message says who can give it."""


class NotFound(RunaiError):
    """There is no such object."""


class Conflict(RunaiError):
    """The state of the object does not allow the request."""


class AlreadyExists(Conflict):
    """An object with this name exists already."""


class StaleVersion(Conflict):
    """The object was changed since it was read."""


class IllegalTransition(Conflict):
    """The workload's phase does not know the signal; nothing was changed."""


class WatchExpired(RunaiError):
    """The watch asks for a version that is no longer kept: list again."""


class TooLarge(RunaiError):
    """A body, a name or a list is over its limit."""


class Unsupported(RunaiError):
    """This kind of workload, or this backend, cannot do it."""


class Unavailable(RunaiError):
    """The database, the disk or the network is not there now: try again."""


class TooManyRequests(Unavailable):
    """Too many failed tries; `details` says after how many seconds (`retryAfterSeconds`) the next may succeed."""
