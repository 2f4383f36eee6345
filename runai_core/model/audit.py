"""The audit log: who changed what, when and from where, and how it was before and after."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from runai_core.model.meta import WIRE, Meta


class AuditAction(StrEnum):
    """What was done (Run:ai API: action of an audit log entry)."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    SIGN_IN = "sign-in"
    SIGN_OUT = "sign-out"
    RESET_PASSWORD = "reset-password"  # noqa: S105  the name of an action


class AuditResult(StrEnum):
    """What became of it."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """One object that a request wrote. `before` and `after` are JSON: the fields that differ, without secrets."""

    __pydantic_config__ = WIRE
    kind: str
    name: str
    uid: str
    project: str = ""
    before: str = ""  # empty: it was made
    after: str = ""  # empty: it was deleted


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One request that changed something, or tried to. When is `meta.created_at`."""

    __pydantic_config__ = WIRE
    meta: Meta
    subject: str
    subject_type: str
    action: str
    result: str
    entity_type: str = ""
    entity_name: str = ""
    entity_id: str = ""
    http_method: str = ""
    url: str = ""  # the path; queries can hold secrets
    status: int = 0
    source_ip: str = ""
    request_id: str = ""
    message: str = ""  # of what failed
    changes: tuple[Changed, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
