"""Who can ask: users, their keys, and the sessions in which they are known.

A secret is never kept: passwords as argon2 hashes, secrets that were drawn at
random as plain hashes. A `generation` is part of every token that stands for
an account without a session; raising it makes all earlier tokens worthless.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from runai_core.model.meta import WIRE, Meta


class SubjectType(StrEnum):
    """What an access rule can be about (Run:ai API: subjectType)."""

    USER = "user"
    APP = "app"
    SERVICE_ACCOUNT = "service-account"
    GROUP = "group"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person. The name is the e-mail address, in lower case, or what the identity provider calls the person."""

    __pydantic_config__ = WIRE
    meta: Meta
    password_hash: str = ""  # empty: signs in through a provider only
    must_change_password: bool = False  # an administrator chose it
    password_set_at: float | None = None  # None: when the user was made
    earlier_passwords: tuple[str, ...] = ()  # hashes, the newest first
    first_name: str = ""
    last_name: str = ""
    provider: str = ""  # identity provider that vouches for the person; empty: local
    groups: tuple[str, ...] = ()  # as the provider said at the last sign-in
    attributes: Mapping[str, str] = field(default_factory=dict)  # uid, gid and such, as the provider said
    disabled: bool = False
    last_login: float | None = None

    @property
    def name(self) -> str:
        """The name with which the person signs in."""
        return self.meta.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """What somebody chose of how pages look to them. The name is kind and name of the account."""

    __pydantic_config__ = WIRE
    meta: Meta
    columns: tuple[str, ...] = ()  # of the Workloads table; none: the usual ones


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """A key with which programs act as its owner (Run:ai: access key, earlier user application)."""

    __pydantic_config__ = WIRE
    meta: Meta
    client_id: str
    secret_hash: str
    holder: str  # name of the user or service account
    holder_type: str = SubjectType.USER.value
    expires_at: float | None = None
    generation: int = 0
    last_used: float | None = None

    @property
    def name(self) -> str:
        """The key's name, unique among those of its holder."""
        return self.meta.labels.get("name", self.meta.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Somebody who signed in, until they sign out or it expires. The name is the hash of what the browser keeps."""

    __pydantic_config__ = WIRE
    meta: Meta
    subject: str
    subject_type: str
    expires_at: float
    refresh_hash: str = ""  # of the one refresh token that is good now
    used_at: float = 0.0  # by a person, where sessions end that nobody uses
    spent: tuple[str, ...] = ()  # hashes of earlier ones: whoever shows one has stolen it, or was robbed


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """Something that can be shown once, soon: a link that signs in, or a sign-in under way at a provider."""

    __pydantic_config__ = WIRE
    meta: Meta  # the name is the hash of what was given out
    subject: str
    subject_type: str
    expires_at: float
    purpose: str = "login"
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """Failed tries to sign in with one name, or from one address. The name is a hash of either."""

    __pydantic_config__ = WIRE
    meta: Meta
    failures: int = 0
    last: float = 0.0
    locked_until: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityProvider:
    """Somebody who vouches for people: an OpenID Connect issuer. The name is the provider's alias in paths."""

    __pydantic_config__ = WIRE
    meta: Meta
    type: str = "oidc"
    display_name: str = ""
    client_id: str
    client_secret: str = ""  # sealed
    discovery_url: str  # of the document .well-known/openid-configuration
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    mandatory_claim: str = ""  # a claim that must be there, and have the value
    mandatory_value: str = ""
    mappers: Mapping[str, str] = field(default_factory=dict)  # groups, email, uid, gid, ... -> name of the claim

    @property
    def name(self) -> str:
        """The alias."""
        return self.meta.name


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantSettings:
    """What administrators set for the whole tenant while it runs. There is one, named `tenant`."""

    __pydantic_config__ = WIRE
    meta: Meta
    idle_minutes: float | None = None  # after which a browser that nobody uses is signed out; None: only at the end
    sso_redirect: bool = False  # /login goes straight to the identity provider
    sso_alias: str = ""  # to which one; empty: the only one
    logout_uri: str = ""  # where a browser goes that signed out; empty: the sign-in page
    ownership_protection: bool = False  # only its author, or who has rights above the project, changes a workload
    # Of passwords; not called so, because the audit log hides what is.
    pass_length: int = 12  # characters at least
    pass_kinds: int = 1  # of characters: small and capital letters, digits, others
    pass_history: int = 0  # how many earlier ones are not taken again
    pass_days: int | None = None  # after which it must be changed; None: never
    notifications: bool = True
    email_notifications: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Logo:
    """The picture that a tenant's pages have at their top. There is one, named `tenant`, or none."""

    __pydantic_config__ = WIRE
    meta: Meta
    png: str  # base64
