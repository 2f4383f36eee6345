"""Credentials as secrets in a project's namespace: made when they are needed, others' secrets left alone."""

import base64
from dataclasses import dataclass, field
from typing import Any

import pytest

from runai_core.backends.kubernetes.secrets import follow, provide, secret_object
from runai_core.model.errors import NotFound
from runai_core.model.meta import Meta
from runai_core.model.spec import EnvironmentVariable, ImagePullSecret, KeyReference, WorkloadSpec
from runai_core.model.volumes import S3, Git, MountedMap, Storage
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


# -- from then on


class Kept(FakeApi):
    """Also lists and deletes; what was deleted is remembered."""

    def __init__(self, *items: Any) -> None:
        super().__init__({item["metadata"]["name"]: item for item in items})
        self.gone: list[str] = []

    async def list(self, _resource: Any, _namespace: str, *, labels: str) -> Any:
        wanted = [part.partition("=") for part in labels.split(",")]

        def chosen(have: dict[str, str]) -> bool:
            return all(key in have and (have[key] == value or not equals) for key, equals, value in wanted)

        found = [item for item in self.kept.values() if chosen(item["metadata"]["labels"])]
        return found, "1"

    async def delete(self, _resource: Any, name: str, _namespace: str, *, uid: str) -> None:
        assert self.kept[name]["metadata"]["uid"] == uid
        del self.kept[name]
        self.gone.append(name)


def ours(name: str, value: str = "", **changed: Any) -> Any:
    """A secret that we made for the project `team`; its content is the present one unless told otherwise."""
    item: Any = secret_object(Secret(name=name, data={"k": value or f"team-{name}"}), "runai-team")
    item["metadata"]["uid"] = f"uid-{name}"
    return {**item, **changed}


async def test_a_secret_follows_its_credential() -> None:
    api: Any = Kept(ours("same"), ours("changed", "old"), ours("theirs"))

    await follow(api, FakeSecrets(), "team", "runai-team")

    assert api.gone == ["theirs"], "its credential is no longer there"
    assert base64.b64decode(api.kept["changed"]["data"]["k"]) == b"team-changed"
    assert "uid" in api.kept["same"]["metadata"], "what is right already is not written"


async def test_a_secret_whose_type_changed_is_made_anew() -> None:
    api: Any = Kept(ours("one", type="kubernetes.io/basic-auth"))

    await follow(api, FakeSecrets(), "team", "runai-team")

    assert api.gone == ["one"]
    assert api.kept["one"]["type"] == "Opaque"


async def test_secrets_that_we_did_not_make_are_not_looked_at() -> None:
    stranger = {"metadata": {"name": "theirs", "uid": "u", "labels": {"run.ai/name": "theirs"}}, "data": {}}
    copy = ours("theirs")
    copy["metadata"]["name"] = "a-copy"
    api: Any = Kept(stranger, copy)

    await follow(api, FakeSecrets(), "team", "runai-team")

    assert sorted(api.kept) == ["a-copy", "theirs"]
