"""Credentials as secrets in a project's namespace: made when they are needed, others' secrets left alone."""

import base64
from dataclasses import dataclass, field
from typing import Any

import pytest

from runai_core.backends.kubernetes.secrets import provide
from runai_core.model.errors import NotFound
from runai_core.model.meta import Meta
from runai_core.model.spec import (
    S3,
    EnvironmentVariable,
    Git,
    ImagePullSecret,
    KeyReference,
    MountedMap,
    Storage,
    WorkloadSpec,
)
from runai_core.model.workload import Workload
from runai_core.ports import Secret

pytestmark = pytest.mark.asyncio


@dataclass
class FakeApi:
    """Secrets of one namespace, by name."""

    kept: dict[str, Any] = field(default_factory=dict)

    async def get(self, _resource: Any, name: str, _namespace: str) -> Any:
        if name not in self.kept:
            raise NotFound(name)
        return self.kept[name]

    async def apply(self, _resource: Any, body: Any) -> Any:
        self.kept[body["metadata"]["name"]] = body
        return body


class FakeSecrets:
    """Every name but `theirs` is one of our credentials."""

    async def secret(self, project: str, name: str, author: str | None = None) -> Secret | None:
        return None if name == "theirs" else Secret(name=name, data={"k": f"{project}-{name}"})


def a_workload(spec: WorkloadSpec) -> Workload:
    return Workload(meta=Meta(name="w", project="team"), spec=spec)


async def test_every_secret_that_a_specification_names_is_made() -> None:
    api: Any = FakeApi()
    spec = WorkloadSpec(
        environment_variables=(
            EnvironmentVariable(name="A", secret=KeyReference(name="one", key="k")),
            EnvironmentVariable(name="B", user_credential=KeyReference(name="two", key="k")),
            EnvironmentVariable(name="C", secret=KeyReference(name="left-out"), exclude=True),
        ),
        storage=Storage(
            secret_volume=(MountedMap(secret="three"),),
            git=(Git(password_secret="four"),),
            s3=(S3(access_key_secret="five"),),
        ),
        image_pull_secrets=(ImagePullSecret(name="six"), ImagePullSecret(name="theirs")),
    )

    await provide(api, FakeSecrets(), a_workload(spec), "runai-team")

    assert sorted(api.kept) == ["five", "four", "one", "six", "three", "two"]
    assert base64.b64decode(api.kept["one"]["data"]["k"]) == b"team-one"
    assert api.kept["one"]["metadata"]["namespace"] == "runai-team"


async def test_a_secret_of_somebody_else_is_left_alone() -> None:
    api: Any = FakeApi(kept={"one": {"metadata": {"name": "one", "labels": {}}, "data": {}}})
    spec = WorkloadSpec(environment_variables=(EnvironmentVariable(name="A", secret=KeyReference(name="one")),))

    await provide(api, FakeSecrets(), a_workload(spec), "runai-team")

    assert api.kept["one"]["data"] == {}


async def test_a_secret_of_ours_gets_its_present_content() -> None:
    api: Any = FakeApi()
    spec = WorkloadSpec(environment_variables=(EnvironmentVariable(name="A", secret=KeyReference(name="one")),))
    await provide(api, FakeSecrets(), a_workload(spec), "runai-team")
    api.kept["one"]["data"] = {"k": "old"}

    await provide(api, FakeSecrets(), a_workload(spec), "runai-team")

    assert base64.b64decode(api.kept["one"]["data"]["k"]) == b"team-one"
