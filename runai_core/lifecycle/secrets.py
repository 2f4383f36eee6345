"""Which secrets a specification names. Pure."""

from collections.abc import Iterator

from runai_core.model.spec import WorkloadSpec


def secrets_of(spec: WorkloadSpec) -> Iterator[tuple[str, str, str]]:
    """Yield (path in the specification, name, key) of each secret; the key may be empty."""
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


def cluster_secrets_of(spec: WorkloadSpec) -> Iterator[str]:
    """Yield the names of the secrets that pods of a cluster need: those of buckets and registries as well."""
    for _, name, _ in secrets_of(spec):
        yield name
    for bucket in spec.storage.s3:
        if bucket.access_key_secret and not bucket.exclude:
            yield bucket.access_key_secret
    for registry in spec.image_pull_secrets:
        if not registry.exclude:
            yield registry.name
