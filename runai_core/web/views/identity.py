"""Users, accounts, roles, access rules and the audit log as the API shows them."""

import json
from collections.abc import Mapping
from typing import Any

from runai_core.model.audit import AuditEntry, Changed
from runai_core.model.identity import AccessKey, IdentityProvider, User
from runai_core.model.organization import AccessRule, Actor, ServiceAccount
from runai_core.model.roles import Role
from runai_core.web.answers import identity as answers
from runai_core.web.views.units import CLUSTER_NAME, TENANT_ID, iso, iso_or_none


def user_item(user: User) -> answers.UserItem:
    """Return a user."""
    return answers.UserItem(
        id=user.meta.uid,
        username=user.name,
        created_by=user.meta.created_by,
        created_at=iso(user.meta.created_at),
        updated_at=iso(user.meta.updated_at),
        last_login=iso_or_none(user.last_login),
        is_local=not user.provider,
        groups=user.groups,
        enabled=not user.disabled,
    )


def account_item(account: ServiceAccount) -> answers.AccountItem:
    """Return a service account or application."""
    return answers.AccountItem(
        id=account.meta.uid,
        name=account.meta.name,
        client_id=account.client_id,
        enabled=account.enabled,
        created_by=account.meta.created_by,
        created_at=iso(account.meta.created_at),
        updated_at=iso(account.meta.updated_at),
        last_login=iso_or_none(account.last_login),
        tenant_id=str(TENANT_ID),
    )


def key_item(key: AccessKey) -> answers.KeyItem:
    """Return an access key, without its secret."""
    return answers.KeyItem(
        id=key.meta.uid,
        name=key.name,
        client_id=key.client_id,
        created_at=iso(key.meta.created_at),
        last_login=iso_or_none(key.last_used),
        created_by=key.holder,
        expires_at=iso_or_none(key.expires_at),
    )


def rule_item(rule: AccessRule, names: Mapping[tuple[str, str], str], role: Role | None) -> answers.RuleItem:
    """Return an access rule; `names` has the names of units by (type, id)."""
    tenant = rule.scope_type in ("tenant", "system")
    name = names.get((rule.scope_type, rule.scope), rule.scope)
    gone = rule.scope_type in ("department", "project") and name == rule.scope
    return answers.RuleItem(
        id=rule.number,
        subject_id=rule.subject,
        subject_type=rule.subject_type,
        role_id=role.id if role else 0,
        role_name=rule.role,
        scope_id=str(TENANT_ID) if tenant else rule.scope,
        scope_type=rule.scope_type,
        scope_name=rule.scope_type if tenant else (CLUSTER_NAME if rule.scope_type == "cluster" else name),
        cluster_id=rule.scope if rule.scope_type == "cluster" else None,
        tenant_id=TENANT_ID,
        created_by=rule.meta.created_by,
        created_at=iso(rule.meta.created_at),
        updated_at=iso(rule.meta.updated_at),
        deleted_at=iso_or_none(rule.meta.deleted_at),
        status=answers.RuleStatus(
            phase="NotReady" if gone else "Ready", message="its scope is gone" if gone else None, details=None
        ),
    )


def idp_item(provider: IdentityProvider) -> answers.IdpItem:
    """Return an identity provider; nobody is told its secret."""
    return answers.IdpItem(
        alias=provider.name,
        type=provider.type,
        redirect_uri="/login/callback",
        oidc_data=answers.IdpOidc(
            client_id=provider.client_id,
            client_secret="",
            discover_document_url=provider.discovery_url,
            scopes=provider.scopes,
        ),
        mappers=dict(provider.mappers),
    )


def who_answer(actor: Actor) -> answers.WhoAnswer:
    """Return who asks, with all that was granted."""
    grants = tuple(
        {"role": grant.role, "scopeType": grant.scope.type, "scopeId": grant.scope.name} for grant in actor.grants
    )
    return answers.WhoAnswer(name=actor.name, kind=actor.kind, grants=grants)


def audit_item(entry: AuditEntry, cluster_id: str) -> answers.AuditItem:
    """Return an entry of the audit log."""
    return answers.AuditItem(
        id=entry.meta.uid,
        timestamp=iso(entry.meta.created_at),
        tenant_id=str(TENANT_ID),
        subject=entry.subject,
        subject_type="User" if entry.subject_type == "user" else "App",
        source_ip=entry.source_ip,
        action=entry.action,
        http_method=entry.http_method,
        url=entry.url,
        entity_type=entry.entity_type,
        entity_name=entry.entity_name,
        entity_id=entry.entity_id,
        result=entry.result,
        http_status_code=entry.status,
        cluster_name=CLUSTER_NAME,
        cluster_id=cluster_id,
        request_id=entry.request_id,
        metadata=dict(entry.facts),
        changes=tuple(_changed(item) for item in entry.changes),
    )


def _changed(item: Changed) -> answers.ChangedItem:
    return answers.ChangedItem(
        kind=item.kind,
        name=item.name,
        id=item.uid,
        project=item.project,
        before=_value(item.before),
        after=_value(item.after),
    )


def _value(text: str) -> Any:
    """Return the JSON that was kept; what was cut is shown as text."""
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text
