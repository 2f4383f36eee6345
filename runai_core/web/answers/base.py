"""What all answers have in common: the form, errors, counts, tokens.

Fields described as *ours* have no counterpart in Run:ai's API. Times are
ISO 8601 in UTC.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from runai_core.model.meta import to_camel

Number = int | float
OURS = "Ours: not in Run:ai's API."


class Answer(BaseModel):
    """An object of an answer: camelCase, every field present."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


class ErrorAnswer(Answer):
    """What went wrong, with what, and what to do."""

    code: int
    message: str
    details: str | None = None
    reason: Annotated[str, Field(description=f"Class of the error. {OURS}")]
    request_id: Annotated[str, Field(description=f"Under which the log has it. {OURS}")]
    errors: Annotated[list[dict[str, Any]] | None, Field(description=f"One for each wrong field. {OURS}")] = None


class Count(Answer):
    """How many objects match."""

    count: int


class TokenAnswer(Answer):
    """A bearer token."""

    access_token: str
    expires_in: Annotated[int, Field(description="Seconds.")]
    id_token: str | None = None
    refresh_token: str | None = None


class OAuthToken(BaseModel):
    """A bearer token as OAuth 2 writes it."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105  the name of the scheme, no secret
    expires_in: int
    refresh_token: str | None = None


class Reference(Answer):
    """Another object, by id and name."""

    id: str
    name: str


class Condition(Answer):
    """One thing that is, or is not, so."""

    type: str
    status: str
    reason: str | None = None
    message: str | None = None
    last_transition_time: str | None = None


class FieldErrorItem(Answer):
    """What is wrong with one field."""

    field: str
    message: str
    given: Any = None
    policy: str | None = None
