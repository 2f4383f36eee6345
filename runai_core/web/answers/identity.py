"""What the API answers about who asks: tickets, users, accounts, roles, access rules, providers, the audit log."""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from runai_core.web.answers.base import OURS, Answer


class TicketAnswer(Answer):
    """A link that signs a browser in, once and within minutes."""

    ticket: str
    path: Annotated[str, Field(description="To be opened at the address of the orchestrator.")]


class AppToken(BaseModel):
    """A bearer token in the oldest form."""

    access_token: str
    id_token: str


class UserItem(Answer):
    """A user."""

    id: str
    username: str
    created_by: str
    created_at: str
    updated_at: str
    last_login: str | None
    is_local: bool
    groups: tuple[str, ...]
    enabled: Annotated[bool, Field(description=OURS)]


class UserCreated(Answer):
    """A user that was made; the password is shown this once."""

    id: str
    username: str
    temp_password: str | None


class PasswordReset(Answer):
    """A password that was drawn; it must be changed at the first sign-in."""

    temp_password: str


class AccountItem(Answer):
    """A service account or application."""

    id: str
    name: str
    client_id: str
    enabled: bool
    created_by: str
    created_at: str
    updated_at: str
    last_login: str | None
    tenant_id: str


class AccountCreated(Answer):
    """A service account that was made; the secret is shown this once."""

    id: str
    name: str
    client_id: str
    client_secret: str


class AppCreated(Answer):
    """An application that was made; the secret is shown this once."""

    id: str
    name: str
    client_id: str
    secret: str


class ClientSecret(Answer):
    """A new secret, shown this once."""

    client_secret: str


class KeyItem(Answer):
    """An access key."""

    id: str
    name: str
    client_id: str
    created_at: str
    last_login: str | None
    created_by: str
    expires_at: Annotated[str | None, Field(description=OURS)]


class KeyList(Answer):
    """Access keys."""

    access_keys: tuple[KeyItem, ...]


class KeyCreated(Answer):
    """An access key that was made; the secret is shown this once."""

    id: str
    name: str
    client_id: str
    client_secret: str
    created_at: str


class UserAppCreated(Answer):
    """The same under its older name."""

    id: str
    name: str
    client_id: str
    secret: str
    created_at: str


class RuleStatus(Answer):
    """Whether a rule holds."""

    phase: str
    message: str | None
    details: str | None


class RuleItem(Answer):
    """An access rule."""

    id: int
    subject_id: str
    subject_type: str
    role_id: int
    role_name: str
    scope_id: str
    scope_type: str
    scope_name: str
    cluster_id: str | None
    tenant_id: int
    created_by: str
    created_at: str
    updated_at: str
    deleted_at: str | None
    status: RuleStatus


class RuleList(Answer):
    """Access rules."""

    total_records: int
    display_records: int
    access_rules: tuple[RuleItem, ...]


class MyRules(Answer):
    """The rules that give somebody's rights."""

    access_rules: RuleList


class RuleFailure(Answer):
    """A rule that could not be made."""

    payload: dict[str, Any]
    code: int
    message: str


class RulesCreated(Answer):
    """What became of several rules."""

    succeeded: tuple[RuleItem, ...]
    failed: tuple[RuleFailure, ...]


class DeletionFailure(Answer):
    """A rule that could not be deleted."""

    id: str
    code: int
    message: str


class RulesDeleted(Answer):
    """What became of several deletions."""

    id: str
    succeeded: tuple[str, ...]
    failed: tuple[DeletionFailure, ...]


class PermittedScopes(Answer):
    """Where something may be done."""

    system: bool
    tenants: tuple[str, ...]
    tenant: str | None
    clusters: tuple[str, ...]
    departments: tuple[str, ...]
    projects: tuple[str, ...]


class WhoAnswer(Answer):
    """Who asks (ours)."""

    name: str
    kind: str
    grants: tuple[dict[str, str], ...]


class ChangedItem(BaseModel):
    """One object that a request wrote."""

    kind: str
    name: str
    id: str
    project: str
    before: Any
    after: Any


class AuditItem(BaseModel):
    """One entry of the audit log; names as in Run:ai's API."""

    id: str
    timestamp: str
    tenant_id: str
    subject: str
    subject_type: str
    source_ip: str
    action: str
    http_method: str
    url: str
    entity_type: str
    entity_name: str
    entity_id: str
    result: str
    http_status_code: int
    cluster_name: str
    cluster_id: str
    request_id: str
    metadata: dict[str, str]
    changes: Annotated[tuple[ChangedItem, ...], Field(description=f"Before and after. {OURS}")]


class AuditList(BaseModel):
    """Entries of the audit log."""

    total: int
    next: int | None
    audit_logs: tuple[AuditItem, ...]


class IdpCreated(Answer):
    """An identity provider that was added."""

    alias: str


class IdpOidc(Answer):
    """An OpenID Connect provider, without its secret."""

    client_id: str
    client_secret: str
    discover_document_url: str
    scopes: tuple[str, ...]


class IdpItem(Answer):
    """An identity provider."""

    alias: str
    type: str
    redirect_uri: str
    oidc_data: IdpOidc
    mappers: dict[str, str]
