"""An orchestrator in this process with a clock that stands still, and browsers and programs that want in."""

import re
from dataclasses import dataclass
from typing import Any

import httpx

from runai_core.bootstrap import Orchestrator
from runai_core.model.audit import AuditEntry
from runai_core.model.identity import User
from runai_core.model.organization import Actor, Grant
from runai_core.ports import Query
from runai_core.service.rules import NewRule

NOW = 1_800_000_000.0
PASSWORD = "correct horse battery"
ADMIN = Actor(name="root", grants=(Grant("System administrator"),))


class Clock:
    """Stands still until a test moves it."""

    time: float = NOW

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here waits")


class NoCluster:
    """There are no nodes and no pods."""

    async def nodes(self) -> list[Any]:
        return []

    async def pods(self, workload: Any) -> list[Any]:
        return []

    def logs(self, pod: Any, options: Any) -> Any:
        raise AssertionError("nobody may read a log here")


@dataclass
class House:
    """An orchestrator with a user, and browsers and programs that want in."""

    door: Orchestrator
    app: Any
    clock: Clock

    def visitor(self, address: str = "192.0.2.1", **headers: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, client=(address, 1234))
        return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers)

    async def user(self, name: str = "jane@example.com", password: str = PASSWORD) -> User:
        user, _ = await self.door.users.create(ADMIN, name, password, must_change=False)
        return user

    async def grant(self, name: str, role: str, scope_type: str = "tenant", scope: str = "") -> Any:
        kind = "user" if "@" in name else "service-account"
        given = NewRule(subject=name, subject_type=kind, role=role, scope_type=scope_type, scope=scope)
        return await self.door.rules.create(ADMIN, given)

    async def token(self, visitor: httpx.AsyncClient, expect: int = 200, **body: Any) -> Any:
        answer = await visitor.post("/api/v1/token", json=body)
        assert answer.status_code == expect, answer.text
        return answer.json()

    async def password_token(self, visitor: httpx.AsyncClient, password: str = PASSWORD, expect: int = 200) -> Any:
        return await self.token(visitor, expect, grantType="password", username="jane@example.com", password=password)

    async def me(self, token: str) -> httpx.Response:
        async with self.visitor() as visitor:
            return await visitor.get("/api/v1/me", headers={"Authorization": f"Bearer {token}"})

    async def sign_in(self, visitor: httpx.AsyncClient, password: str = PASSWORD, **more: str) -> httpx.Response:
        form = await visitor.get("/login")
        fields = {"csrf_token": csrf(form.text), "username": "jane@example.com", "password": password, **more}
        return await visitor.post("/login", data=fields)

    async def log(self) -> list[AuditEntry]:
        page = await self.door.audit.list(ADMIN, Query(sort_by="meta.created_at"))
        return list(page.items)


def csrf(page: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found is not None, page
    return found[1]
