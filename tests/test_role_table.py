"""Every role x every operation of the API: who lacks the right is refused, who has it is not."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from runai_core.bootstrap import Orchestrator, open_orchestrator
from runai_core.model.organization import SYSTEM, Action
from runai_core.model.roles import ENTITIES, ROLES, Role, resource_type, rights_of
from runai_core.service.roles import NewRole
from runai_core.service.rules import NewRule
from runai_core.settings import Settings
from runai_core.web import openapi
from runai_core.web.app import create_app
from runai_core.web.gate import is_open
from runai_core.web.rights import has_row, require_right, right_of

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

PRINTED = """
| Entity | SysAdm | DeptAdm | DeptView | ProjAdm | Editor | AI-pract | Data | Viewer | L1 | L2 | MLE | ResMgr |
| Departments | A | R | R | R | A | R | R | R | · | · | R | R |
| Event history | R | · | · | · | · | · | · | · | · | · | · | · |
| Policies | A | A | R | A | A | R | · | R | R | R | R | R |
| Projects | A | A | R | R | A | R | R | R | R | R | R | A |
| Security settings | A | R | R | R | R | · | · | R | R | R | R | R |
| Settings | A | R | R | R | R | R | R | R | R | R | R | R |
| Clusters | A | · | R | · | R | · | · | R | R | R | R | R |
| Clusters minimal | R | R | R | R | R | R | R | R | R | R | R | R |
| Node pools | A | R | · | · | R | · | · | R | R | R | R | R |
| Node pools minimal | R | R | R | R | R | R | R | R | R | R | R | R |
| Nodes | R | R | · | · | R | · | · | R | · | · | R | · |
| Access rules | A | A | · | A | A | · | · | · | · | · | · | A |
| Applications | A | A | · | R | R | · | · | · | · | · | · | · |
| Roles | A | R | · | R | R | · | · | · | · | · | · | R |
| Service accounts | A | A | · | R | R | · | · | · | · | · | · | · |
| Users | A | A | · | · | R | · | · | · | · | · | · | · |
| Inferences | A | A | R | A | A | A | R | R | R | · | A | R |
| Trainings | A | A | R | A | A | A | R | R | A | A | · | A |
| Workload properties | A | R | R | R | R | R | R | R | R | R | R | R |
| Workloads | A | A | R | A | A | A | R | R | A | A | A | R |
| Workspaces | A | A | R | A | A | A | R | R | A | A | R | A |
| Compute resources | A | A | R | A | A | A | R | R | A | R | R | A |
| Credentials | A | A | R | A | A | A | R | R | A | R | A | R |
| Data sources | A | A | R | A | A | A | A | R | A | R | R | A |
| Data volumes | A | A | R | A | A | R | A | R | R | R | R | A |
| Environments | A | A | R | A | A | A | R | R | A | R | R | A |
| PVC | A | A | R | A | A | R | A | R | A | R | R | A |
| Registries | A | A | R | A | A | A | R | R | R | R | R | R |
| Storage class configurations | A | A | R | A | A | R | A | R | R | R | R | R |
| Templates | A | A | R | A | A | A | R | R | A | R | R | A |
"""
"""The public table, as printed (docs 2.25), for the entities that operations of today speak of."""

NEVER_ENDS = frozenset({"/api/v1/workloads/watch"})
"""Answered until the client goes: who may ask is tested by who may not."""

CONSTANT = frozenset(
    {
        "/api/v1/org-unit/reports/availability",
        "/api/v1/workload-categories",
        "/api/v1/workload-priorities",
        "/api/v1/workload-types",
    }
)
"""What these answer is of the program, not of anybody: no service stands behind them that could refuse."""

ID = "00000000-0000-4000-8000-000000000000"


MADE = NewRole(
    name="Odd jobs",
    permission_sets=["View projects", "Manage registries"],
    permissions={
        "workspaces": ["read", "update"],
        "trainings": ["read", "create"],
        "nodepools": ["read", "delete"],
        "users": ["read"],
        "access-keys": ["read", "delete"],
    },
)
"""A role that an administrator made: some of the changes of some things, as no role of the program has them."""


@dataclass(frozen=True)
class World:
    """An application, and a bearer token for each role, granted everywhere."""

    app: FastAPI
    door: Orchestrator
    tokens: dict[str, str]
    made: Role

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles of the program, and the one that was made."""
        return (*ROLES, self.made)

    def allows(self, role: Role, right: tuple[Action, str] | None) -> bool:
        """Return whether the table, or the role that was made, has the right."""
        if right is None or role is not self.made:
            return right is None or right[0] in rights_of(role.name, right[1])
        return right[0] in role.rights.get(resource_type(right[1]), ())

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://localhost")

    def operations(self) -> list[tuple[str, str]]:
        paths: dict[str, Any] = openapi.document(self.app)["paths"]
        return [
            (method.upper(), path) for path, found in sorted(paths.items()) for method in found if not is_open(path)
        ]

    async def ask(self, client: httpx.AsyncClient, role: str, method: str, path: str) -> httpx.Response:
        body: Any = {} if method in ("POST", "PUT", "PATCH") else None
        url = re.sub(r"\{[^}]*\}", ID, path)
        headers = {"Authorization": f"Bearer {self.tokens[role]}"}
        return await client.request(method, url, headers=headers, json=body)


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    settings = Settings(data_dir=tmp_path, plugins=("builtin",), simulated_gpus=1)
    async with open_orchestrator(settings) as door:
        tokens = {}
        for role in ROLES:
            name = f"role-{role.id}"
            made = await door.access.create_service_account(name, role.name)
            tokens[role.name] = (await door.access.issue(name, made.client_secret)).access_token
        odd = await door.roles.create(SYSTEM, MADE)
        account, secret = await door.accounts.create(SYSTEM, "service-account", "odd-jobs")
        given = {"subject_type": "service-account", "role": odd.name, "scope_type": "tenant"}
        await door.rules.create(SYSTEM, NewRule(subject=account.client_id, **given))
        tokens[odd.name] = (await door.access.issue(account.client_id, secret)).access_token
        yield World(create_app(door), door, tokens, odd)


async def test_the_table_of_roles_is_the_printed_one() -> None:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in PRINTED.split("\n") if line][1:]

    assert {row[0]: " ".join(row[1:]) for row in rows}.items() <= {
        entity: letters for entity, (_, letters) in ENTITIES.items()
    }.items()


async def test_every_operation_has_a_row(world: World) -> None:
    missing = [f"{method} {path}" for method, path in world.operations() if not has_row(method, path)]

    assert missing == [], "give them a right in runai_core/web/rights.py"


async def test_every_role_may_do_what_its_rights_say_and_nothing_else(world: World) -> None:
    wrong: list[str] = []
    async with world.client() as client:
        for method, path in world.operations():
            right = right_of(method, path)
            for role in world.roles:
                allowed = world.allows(role, right)
                if allowed and path in NEVER_ENDS:
                    continue
                status = (await world.ask(client, role.name, method, path)).status_code
                # 403 from a service is right where it compares more than the table can say (whose account it is).
                if status >= 500 or (not allowed and status != 403) or (allowed and status in (401, 403)):
                    wrong.append(f"{role.name}: {method} {path} -> {status}, allowed: {allowed}")
    assert wrong == [], "\n".join(wrong)


async def test_services_refuse_by_themselves_what_the_table_refuses_before_them(world: World) -> None:
    world.app.dependency_overrides[require_right] = _nothing
    slipped: list[str] = []
    async with world.client() as client:
        for method, path in world.operations():
            right = right_of(method, path)
            if right is None or path in NEVER_ENDS | CONSTANT:
                continue
            without = [role for role in world.roles if not world.allows(role, right)]
            for role in without[:1] + without[1:][-1:]:
                answer = await world.ask(client, role.name, method, path)
                # A body that is wrong, or an id that is nobody's, may be told first; a list may have nothing in it.
                if answer.status_code not in (400, 403, 404, 422) and not says_nothing(answer):
                    slipped.append(f"{role.name}: {method} {path} -> {answer.status_code}")
    assert slipped == [], "\n".join(slipped)


def says_nothing(answer: httpx.Response) -> bool:
    """Return whether an answer to a question has no object in it."""
    found = answer.json() if answer.request.method == "GET" and answer.status_code == 200 else None
    values = [value for key, value in found.items() if key != "pagination"] if isinstance(found, dict) else [found]
    return found is not None and all(value in ([], None, 0) for value in values)


async def _nothing() -> None:
    await asyncio.sleep(0)


async def test_reading_is_the_smallest_right() -> None:
    for role in ROLES:
        for kind, actions in role.rights.items():
            assert Action.READ in actions, (role.name, kind)
