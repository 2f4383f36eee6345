"""Which secrets a specification names, and how private ones are told from all others. Pure.

A private credential is named by its title, and only its owner can name it: at
submission the title becomes a name that holds a digest of the owner.
"""

import hashlib
import re
from collections.abc import Collection, Iterator
from dataclasses import replace

from runai_core.model.spec import EnvironmentVariable, ImagePullSecret, WorkloadSpec

_PRIVATE = re.compile(r"my-[0-9a-f]{16}-.+")


def private_name(owner: str, title: str) -> str:
    """Return the name of the secret that a private credential becomes."""
    return f"my-{hashlib.sha256(owner.encode()).hexdigest()[:16]}-{title}"


def is_private(name: str) -> bool:
    """Return whether a secret of this name can only be a private credential."""
    return _PRIVATE.fullmatch(name) is not None


def private_secrets(spec: WorkloadSpec) -> frozenset[tuple[str, str]]:
    """Return the private secrets that a workload has, with the key of each."""
    return frozenset((name, key) for _, name, key in cluster_secrets_of(spec) if is_private(name))


def with_private_names(spec: WorkloadSpec, owner: str, kept: Collection[str] = ()) -> WorkloadSpec:
    """Return the specification with the owner's own credentials under their names as secrets; `kept` have them."""

    def named(name: str) -> str:
        return name if name in kept or name.startswith(private_name(owner, "")) else private_name(owner, name)

    def variable(item: EnvironmentVariable) -> EnvironmentVariable:
        given = item.user_credential
        return item if given is None else replace(item, user_credential=replace(given, name=named(given.name)))

    def registry(item: ImagePullSecret) -> ImagePullSecret:
        return replace(item, name=named(item.name)) if item.user_credential else item

    return replace(
        spec,
        environment_variables=tuple(variable(item) for item in spec.environment_variables),
        image_pull_secrets=tuple(registry(item) for item in spec.image_pull_secrets),
    )


def secrets_of(spec: WorkloadSpec) -> Iterator[tuple[str, str, str]]:
    """Yield (path in the specification, name, key) of each secret that a process gets; the key may be empty."""
    for index, variable in enumerate(spec.environment_variables):
        for member, reference in (("secret", variable.secret), ("userCredential", variable.user_credential)):
            if reference is not None and not variable.exclude:
                yield f"environmentVariables.{index}.{member}", reference.name, reference.key
    for index, volume in enumerate(spec.storage.secret_volume):
        if volume.secret and not volume.exclude:
            yield f"storage.secretVolume.{index}.secret", volume.secret, ""
    for index, git in enumerate(spec.storage.git):
        if git.password_secret and not git.exclude:
            yield f"storage.git.{index}.passwordSecret", git.password_secret, ""


def cluster_secrets_of(spec: WorkloadSpec) -> Iterator[tuple[str, str, str]]:
    """Yield as `secrets_of` what pods of a cluster need: the secrets of buckets and registries as well."""
    yield from secrets_of(spec)
    for index, bucket in enumerate(spec.storage.s3):
        if bucket.access_key_secret and not bucket.exclude:
            yield f"storage.s3.{index}.accessKeySecret", bucket.access_key_secret, ""
    for index, registry in enumerate(spec.image_pull_secrets):
        if not registry.exclude:
            yield f"imagePullSecrets.{index}.name", registry.name, ""
