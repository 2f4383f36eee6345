"""One's own credentials: nobody else sees them, and only workloads of one's own get them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio

from runai_core.lifecycle.secrets import private_name
from runai_core.model.assets import Asset
from runai_core.model.meta import Meta
from runai_core.model.organization import SYSTEM, Project
from runai_core.model.workload import Workload
from runai_core.ports import Query
from runai_core.service.rules import NewRule

pytestmark = pytest.mark.asyncio

MINE = "/api/v1/me/credentials"
GENERIC = f"{MINE}/generic-secret"
PASSWORD = "correct horse battery"


@dataclass
class Person:
    """A user with a token of theirs."""

    api: Any
    name: str
    headers: Mapping[str, str]

    async def call(self, method: str, path: str, body: Any = None) -> httpx.Response:
        answer: httpx.Response = await self.api.client.request(method, path, json=body, headers=self.headers)
        return answer

    async def keep(self, title: str = "db", value: str = "v", expect: int = 201) -> Any:
        body = {"meta": {"name": title}, "spec": {"keyValuePairs": [{"key": "k", "value": value}]}}
        answer = await self.call("POST", GENERIC, body)
        assert answer.status_code == expect, answer.text
        return answer.json()

    async def submit(self, kind: str = "trainings", name: str = "w", **spec: Any) -> httpx.Response:
        body = {"name": name, "projectId": "default", "spec": {"command": "true", **spec}}
        return await self.call("POST", f"/api/v1/workloads/{kind}", body)


@pytest_asyncio.fixture
async def people(api: Any) -> tuple[Person, Person]:
    """Return two people who may both do everything: what is private is so for administrators as well."""
    return await person(api, "jane@example.com"), await person(api, "joe@example.com")


async def person(api: Any, name: str) -> Person:
    door = api.orchestrator
    await door.users.create(SYSTEM, name, PASSWORD, must_change=False)
    rule = NewRule(subject=name, subject_type="user", role="System administrator", scope_type="tenant", scope="")
    await door.rules.create(SYSTEM, rule)
    token = await door.access.tokens.open(await door.access.actor("user", name))
    return Person(api, name, {"Authorization": f"Bearer {token.access_token}"})


def own(name: str = "db", key: str = "k") -> dict[str, Any]:
    return {"environmentVariables": [{"name": "DB", "userCredential": {"name": name, "key": key}}]}


async def test_they_are_kept_shown_without_their_secret_and_deleted(people: tuple[Person, Person]) -> None:
    jane, _ = people
    made = await jane.keep(value="s3cr3t")

    listed = (await jane.call("GET", MINE)).json()["entries"]
    assert [(item["meta"]["name"], item["meta"]["kind"]) for item in listed] == [("db", "genericSecret")]
    assert listed[0]["spec"]["genericSecret"]["keyValuePairs"] == [{"key": "k"}]
    assert "s3cr3t" not in (await jane.call("GET", f"{GENERIC}/{made['meta']['id']}")).text

    await jane.keep(expect=409)
    changed = {"spec": {"keyValuePairs": [{"key": "other", "value": "x"}]}}
    assert (await jane.call("PUT", f"{GENERIC}/{made['meta']['id']}", changed)).status_code == 200
    assert (await jane.call("DELETE", f"{GENERIC}/{made['meta']['id']}")).status_code == 200
    assert (await jane.call("GET", MINE)).json()["entries"] == []


async def test_two_people_have_one_of_the_same_name_each(people: tuple[Person, Person]) -> None:
    for someone in people:
        await someone.keep(value=someone.name)
    secrets = people[0].api.orchestrator.secrets

    found = [await secrets.secret("default", private_name(someone.name, "db"), someone.name) for someone in people]

    assert [secret.data["k"] for secret in found] == [someone.name for someone in people]


@pytest.mark.parametrize(
    "path",
    [MINE, GENERIC, "/api/v1/asset/credentials", "/api/v1/asset/credentials/generic-secret"],
)
async def test_nobody_else_finds_them_in_a_list(people: tuple[Person, Person], path: str) -> None:
    jane, joe = people
    await jane.keep()

    assert (await joe.call("GET", path)).json()["entries"] == []


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("path", [GENERIC, "/api/v1/asset/credentials/generic-secret"], ids=["as own", "as an asset"])
async def test_nobody_else_reaches_them_by_their_id(people: tuple[Person, Person], method: str, path: str) -> None:
    jane, joe = people
    uid = (await jane.keep())["meta"]["id"]

    answer = await joe.call(method, f"{path}/{uid}", {} if method == "PUT" else None)

    assert answer.status_code == 404
    assert len((await jane.call("GET", MINE)).json()["entries"]) == 1


async def test_a_workload_gets_its_author_s_own(people: tuple[Person, Person]) -> None:
    jane, _ = people
    await jane.keep()

    made = (await jane.submit(**own())).json()

    workload = await jane.api.orchestrator.backend.store.get_by_uid(Workload, made["workloadId"])
    name = workload.spec.environment_variables[0].user_credential.name
    assert name == private_name(jane.name, "db")
    again = await jane.submit(name="again", **own(name))
    assert again.status_code == 202, "a copy of one's own workload names it as the workload does"


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(own(), id="by its name"),
        pytest.param(own(private_name("jane@example.com", "db")), id="by its name as a secret"),
        pytest.param(
            {
                "environmentVariables": [
                    {"name": "DB", "secret": {"name": private_name("jane@example.com", "db"), "key": "k"}}
                ]
            },
            id="as if it were a common secret",
        ),
        pytest.param(
            {"storage": {"secretVolume": [{"secret": private_name("jane@example.com", "db"), "mountPath": "/x"}]}},
            id="as files",
        ),
        pytest.param({"imagePullSecrets": [{"name": "db", "userCredential": True}]}, id="for a registry"),
        pytest.param(
            {"imagePullSecrets": [{"name": private_name("jane@example.com", "db")}]}, id="for a registry, as a secret"
        ),
    ],
)
async def test_a_workload_of_somebody_else_does_not(people: tuple[Person, Person], spec: dict[str, Any]) -> None:
    jane, joe = people
    await jane.keep()

    answer = await joe.submit(**spec)

    assert answer.status_code == 400, answer.text
    assert "you have no credential" in answer.json()["message"]


async def test_the_master_of_a_distributed_workload_is_looked_at_as_well(people: tuple[Person, Person]) -> None:
    jane, joe = people
    await jane.keep()
    body = {
        "name": "d",
        "projectId": "default",
        "spec": {"command": "true", "numWorkers": 1, "distributedFramework": "PyTorch"},
        "masterSpec": {"command": "true", **own()},
    }

    answers = [(await someone.call("POST", "/api/v1/workloads/distributed", body)) for someone in (joe, jane)]

    assert [answer.status_code for answer in answers] == [400, 202], answers[1].text
    assert answers[0].json()["errors"][0]["field"].startswith("masterSpec.environmentVariables.0")


async def test_a_key_that_is_not_there_is_named(people: tuple[Person, Person]) -> None:
    jane, _ = people
    await jane.keep()

    answer = await jane.submit(**own(key="other"))

    assert "its keys are k" in answer.json()["message"]


async def test_whoever_changes_a_server_leaves_its_author_s_credential_and_adds_no_other(
    people: tuple[Person, Person],
) -> None:
    jane, joe = people
    for title in ("db", "other"):
        await jane.keep(title)
    made = (await jane.submit("inferences", servingPort={"container": 8080}, **own())).json()
    uid = made["workloadId"]
    await jane.api.run(uid)
    path = f"/api/v1/workloads/inferences/{uid}"

    kept = await joe.call("PATCH", path, {"spec": {"args": "new"}})
    other = own(private_name(jane.name, "other"))
    added = await joe.call("PATCH", path, {"spec": other})

    assert kept.status_code in (200, 202), kept.text
    assert added.status_code == 400
    workload = await jane.api.orchestrator.backend.store.get_by_uid(Workload, uid)
    assert workload.spec.environment_variables[0].user_credential.name == private_name(jane.name, "db")


async def test_they_go_with_their_owner(people: tuple[Person, Person]) -> None:
    jane, joe = people
    await jane.keep()
    await joe.call("DELETE", f"/api/v1/users/{jane.name}")

    assert (await jane.api.orchestrator.backend.store.list(Asset, Query())).total == 0


async def test_a_common_credential_cannot_take_a_private_name(people: tuple[Person, Person]) -> None:
    _, joe = people
    await joe.api.orchestrator.organization.create_project(SYSTEM, Project(meta=Meta(name="p"), resources={}))
    body = {
        "meta": {"name": private_name("jane@example.com", "db"), "scope": "tenant"},
        "spec": {"keyValuePairs": [{"key": "k", "value": "v"}]},
    }

    answer = await joe.call("POST", "/api/v1/asset/credentials/generic-secret", body)

    assert answer.status_code == 400


async def test_a_new_key_seals_private_ones_as_well(people: tuple[Person, Person]) -> None:
    jane, _ = people
    await jane.keep(value="s3cr3t")
    answer = await jane.call("POST", "/api/v1/asset/credentials/rotate-key")
    assert answer.json() == {"credentials": 1}

    secret = await jane.api.orchestrator.secrets.secret("default", private_name(jane.name, "db"), jane.name)

    assert secret.data == {"k": "s3cr3t"}
