"""What the API takes about identities: tokens, users, accounts, access rules, identity providers."""

from typing import Annotated, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from runai_core.model.meta import to_camel
from runai_core.model.roles import TYPES
from runai_core.web.listing import ListQuery
from runai_core.web.schemas import Body, Name

Secret = Annotated[str, Field(max_length=8192)]

GRANTS = (
    "client_credentials",
    "app_token",
    "password",
    "refresh_token",
    "authorization_code",
    "exchange_token",
    "external_token_exchange",
)


class TokenGrant(Body):
    """What is exchanged for a token; each spelling that Run:ai's clients use is understood."""

    grant_type: Literal[
        "client_credentials",
        "app_token",
        "password",
        "refresh_token",
        "authorization_code",
        "exchange_token",
        "external_token_exchange",
    ] = Field(default="client_credentials", validation_alias=AliasChoices("grantType", "grant_type"))
    client_id: str = Field(
        default="",
        validation_alias=AliasChoices("clientID", "clientId", "appID", "AppId", "appId", "client_id"),
        description="Also spelled clientId, appID, AppId, client_id.",
        max_length=256,
    )
    client_secret: str = Field(
        default="",
        validation_alias=AliasChoices("clientSecret", "appSecret", "AppSecret", "client_secret"),
        description="Also spelled appSecret, AppSecret, client_secret.",
        max_length=1024,
    )
    username: Annotated[str, Field(max_length=256)] = ""
    password: Secret = ""
    new_password: Annotated[
        str,
        Field(
            validation_alias=AliasChoices("newPassword", "new_password"),
            description="Where the password must be changed: what it becomes (ours).",
            max_length=1024,
        ),
    ] = ""
    refresh_token: str = Field(
        default="", validation_alias=AliasChoices("refreshToken", "refresh_token"), max_length=1024
    )
    code: Annotated[str, Field(max_length=1024)] = ""
    code_verifier: str = Field(
        default="", validation_alias=AliasChoices("codeVerifier", "code_verifier"), max_length=256
    )
    redirect_uri: str = Field(default="", validation_alias=AliasChoices("redirectUri", "redirect_uri"), max_length=2048)
    external_token: str = Field(
        default="",
        validation_alias=AliasChoices("externalToken", "external_token"),
        description="An ID token of a configured identity provider.",
        max_length=16384,
    )


class AppTokenRequest(Body):
    """The oldest form of the same."""

    id: Annotated[str, Field(max_length=256)] = ""
    name: Annotated[str, Field(max_length=256)] = ""
    secret: Annotated[str, Field(max_length=1024)] = ""


class UserCreate(Body):
    """A local user."""

    email: Annotated[str, Field(max_length=256, description="With which the user signs in.")]
    reset_password: Annotated[bool, Field(description="Must choose a password at the first sign-in.")] = True
    notify: Annotated[bool, Field(description="Accepted; no message is sent.")] = False
    password: Annotated[str, Field(max_length=1024, description="Drawn when left out (ours).")] = ""


class PasswordChange(Body):
    """One's own password."""

    current_password: Secret
    new_password: Secret


class NamedAccount(Body):
    """A service account, application or key to create."""

    name: Name


class AccessKeyCreate(NamedAccount):
    """An access key."""

    expires_in: Annotated[
        float | None, Field(ge=60, le=10 * 366 * 86400, description="Seconds; never when left out (ours).")
    ] = None


class EnabledPatch(Body):
    """Whether an account can be used."""

    enabled: bool


class SubjectRef(Body):
    """Who is given a role."""

    subject_id: Annotated[Name, Field(description="E-mail of a user, client id or id of an account, name of a group.")]
    subject_type: Literal["user", "app", "service-account", "group"]


class ScopeRef(Body):
    """Where a role is given."""

    scope_id: Annotated[str, Field(max_length=253, description="Id or name of the unit; any text for the tenant.")] = ""
    scope_type: Literal["system", "tenant", "cluster", "department", "project"]


class AccessRuleCreate(SubjectRef, ScopeRef):
    """A role for a subject in a scope."""

    role_id: Annotated[int | str, Field(description="Number of the role, or its name.")]
    cluster_id: Annotated[str | None, Field(description="May be left out.")] = None


class AccessRulesPayload(Body):
    """A role for several subjects in several scopes."""

    role_id: int | str
    cluster_id: str | None = None
    subjects: Annotated[list[SubjectRef], Field(min_length=1, max_length=10)]
    scopes: Annotated[list[ScopeRef], Field(min_length=1, max_length=10)]


class AccessRulesBatchCreate(Body):
    """Every subject gets the role in every scope."""

    payload: AccessRulesPayload


class AccessRulesBatch(Body):
    """The same for several rules."""

    ids: Annotated[list[str | int], Field(min_length=1, max_length=500)]
    action: Literal["delete", "validate_delete"]


class PermittedScopesRequest(Body):
    """Where may I do this?"""

    resource_type: Annotated[str, Field(json_schema_extra={"enum": list(TYPES)}, max_length=100)]
    action: Literal["create", "read", "update", "delete"] | None = None


class PermissionSetRef(Body):
    """A permission set that a role has."""

    id: Annotated[str, Field(max_length=253)] = ""
    name: Annotated[str, Field(max_length=253, description="Enough without an id.")] = ""


class PermissionBody(Body):
    """What may be done to things of one type."""

    resource_type: Annotated[str, Field(json_schema_extra={"enum": list(TYPES)}, max_length=100)]
    actions: Annotated[list[Literal["create", "read", "update", "delete"]], Field(max_length=10)]
    display_name: Annotated[str, Field(max_length=253, description="Accepted and not used.")] = ""
    group_id: Annotated[str, Field(max_length=253, description="Accepted and not used.")] = ""


class KubernetesPermissionsBody(Body):
    """What a role may do in the cluster itself."""

    predefined_role: Annotated[
        str, Field(max_length=253, description="Id or name of the role of the program whose rights these are.")
    ] = ""


class RoleBody(Body):
    """A role to make, or what is to become of one."""

    name: Annotated[str, Field(max_length=253, description="Unique; it stays as it was.")]
    description: Annotated[str, Field(max_length=4096)] = ""
    enabled: Annotated[bool, Field(description="One that is not gives nothing.")] = True
    permission_sets: Annotated[tuple[PermissionSetRef, ...], Field(max_length=200)] = ()
    permissions: Annotated[
        tuple[PermissionBody, ...],
        Field(max_length=200, description="Rights that no permission set of the role brings."),
    ] = ()
    kubernetes_permissions: KubernetesPermissionsBody = KubernetesPermissionsBody()


class RuleListQuery(ListQuery):
    """Which access rules."""

    subject_type: str = ""
    subject_id_filter: str = ""
    subject_ids: Annotated[tuple[str, ...], Field(max_length=500)] = ()
    scope_type: str = ""
    scope_id: str = ""
    role_id: Annotated[int | None, Field(ge=0)] = None
    cluster_id: str = ""
    include_deleted: bool = False
    last_updated: str = ""


class AuditQuery(BaseModel):
    """Which entries of the audit log."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, extra="forbid")
    start: Annotated[str, Field(max_length=64, description="ISO 8601; the beginning when left out.")] = ""
    end: Annotated[str, Field(max_length=64, description="ISO 8601; now when left out.")] = ""
    offset: Annotated[int, Field(ge=0, le=2**31)] = 0
    number_of_samples: Annotated[int, Field(ge=1, le=1000)] = 20
    sort_order: Literal["asc", "desc"] = "asc"
    sort_by: Annotated[str, Field(max_length=100)] = ""
    filter_by: Annotated[tuple[str, ...], Field(max_length=50)] = ()
    search: Annotated[str, Field(max_length=253)] = ""


class AuditFileQuery(BaseModel):
    """Which entries, in which form."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, extra="forbid")
    start: Annotated[str, Field(max_length=64)] = ""
    end: Annotated[str, Field(max_length=64)] = ""
    file_type: Literal["CSV", "JSON"] = "CSV"
    number_of_samples: Annotated[int, Field(ge=1, le=100_000)] = 20_000
    filter_by: Annotated[tuple[str, ...], Field(max_length=50)] = ()


class MandatoryClaim(Body):
    """Only people with this claim may sign in."""

    claim: Annotated[str, Field(max_length=253)]
    values: Annotated[tuple[str, ...], Field(max_length=100)] = ()


class OidcData(Body):
    """An OpenID Connect provider."""

    client_id: Annotated[str, Field(min_length=1, max_length=512)]
    client_secret: Annotated[str, Field(min_length=1, max_length=2048)]
    discover_document_url: Annotated[str, Field(max_length=2048, pattern="^https?://")]
    scopes: Annotated[tuple[str, ...], Field(max_length=50)] = ("openid", "email", "profile")
    mandatory_claim: MandatoryClaim | None = None


class IdpMappers(Body):
    """Names of claims: what the provider calls what we need."""

    groups: Annotated[str | None, Field(max_length=253)] = None
    email: Annotated[str | None, Field(max_length=253)] = None
    uid: str | None = Field(default=None, validation_alias=AliasChoices("uid", "UID"), max_length=253)
    gid: str | None = Field(default=None, validation_alias=AliasChoices("gid", "GID"), max_length=253)
    supplementary_groups: Annotated[str | None, Field(max_length=253)] = None
    first_name: Annotated[str | None, Field(max_length=253)] = None
    last_name: Annotated[str | None, Field(max_length=253)] = None


class IdpCreate(Body):
    """An identity provider."""

    name: Annotated[str | None, Field(pattern="^[a-z0-9_-]{1,60}$", description="Its alias; oidc when left out.")] = (
        None
    )
    type: Literal["oidc", "saml", "openshift-v4"]
    oidc_data: OidcData | None = None
    saml_data: dict[str, str] | None = None
    ocp_data: dict[str, str] | None = None
    mappers: IdpMappers | None = None
