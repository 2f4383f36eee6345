"""Role bindings follow the access rules; while those cannot be read, nobody's rights change."""

from typing import Any, cast

import pytest

from runai_core.backends.kubernetes.api import Api
from runai_core.backends.kubernetes.resources import DEPARTMENTS, NAMESPACES, NODE_POOLS, PROJECTS, ROLE_BINDINGS
from runai_core.model.meta import Meta
from runai_core.model.organization import AccessRule
from runai_core.operator.organization import Organization
from tests.kubernetes_world import FakeApi, StillWorld

pytestmark = pytest.mark.asyncio

SPACE = "runai-vision"
OPERATOR = "system:serviceaccount:runai:runai-operator"


class Keeping(FakeApi):
    """Keeps what is applied, and lets go of what is deleted."""

    async def apply(self, resource: Any, body: Any) -> Any:
        return self.world.put(resource, body)

    async def delete(self, resource: Any, name: str, namespace: str = "", *, uid: str = "") -> None:
        found = self.world.crd(resource).get(name, namespace)
        assert found is not None
        self.world.drop(resource, found)


def a_world() -> StillWorld:
    """A project whose namespace is there, and another one of somebody else."""
    world = StillWorld()
    for resource in (DEPARTMENTS, NODE_POOLS):
        world.put(resource, {"kind": resource.kind, "metadata": {"name": "default"}, "spec": {}})
    world.put(PROJECTS, {"kind": "Project", "metadata": {"name": "vision"}, "spec": {"department": "default"}})
    world.put(NAMESPACES, {"metadata": {"name": SPACE, "labels": {"runai/queue": "vision"}}})
    return world


def ann(role: str = "L1 researcher") -> AccessRule:
    return AccessRule(
        meta=Meta(name=role), subject="ann@example.org", subject_type="user", role=role, scope_type="project",
        scope="vision",
    )  # fmt: skip


class Place:
    """An organization over a world, and the rules that it is told."""

    def __init__(self) -> None:
        self.world = a_world()
        self.rules: list[AccessRule] | None = []
        self._organization = Organization(cast("Api", Keeping(self.world)), self.world, self._told, operator=OPERATOR)

    async def _told(self) -> list[AccessRule] | None:
        return self.rules

    async def bound(self, *rules: AccessRule, readable: bool = True) -> dict[str, list[str]]:
        """Return who has which role in the namespace after a look at these rules."""
        self.rules = list(rules) if readable else None
        await self._organization.reconcile()
        items = self.world.crd(ROLE_BINDINGS).all()
        return {item["metadata"]["name"]: [subject["name"] for subject in item["subjects"]] for item in items}


OWN = {"runai-project-secrets": [OPERATOR]}


async def test_a_rule_is_a_binding_and_without_it_there_is_none() -> None:
    place = Place()

    assert await place.bound() == OWN
    assert await place.bound(ann()) == {**OWN, "runai-project-researcher": ["ann@example.org"]}
    assert await place.bound(ann("Viewer")) == {**OWN, "runai-project-viewer": ["ann@example.org"]}
    assert await place.bound() == OWN


async def test_while_rules_cannot_be_read_those_who_had_rights_keep_them() -> None:
    place = Place()
    before = await place.bound(ann())

    assert await place.bound(readable=False) == before


async def test_a_binding_that_somebody_else_made_stays() -> None:
    place = Place()
    theirs = {"metadata": {"name": "theirs", "namespace": SPACE}, "subjects": [{"name": "bob"}]}
    place.world.put(ROLE_BINDINGS, theirs)

    assert await place.bound() == {**OWN, "theirs": ["bob"]}
