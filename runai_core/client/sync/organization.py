"""Generated from runai_core/client/organization.py by tests/unit/client/test_sync_twin.py: change that file instead."""

# ruff: noqa: C416, RUF100, UP028

from collections.abc import Mapping, Sequence
from typing import Any

from runai_core.client import requests
from runai_core.client.requests import Listing
from runai_core.client.results import Department, NodePool, Policy, Project
from runai_core.client.sync.pages import all_pages
from runai_core.client.sync.transport import Transport


class Projects:
    """Projects: where workloads are submitted."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, limit: int | None = None, **listing: Any) -> tuple[Project, ...]:
        """Return the projects, by name."""
        chosen = Listing(**({"sort_by": "name"} | listing))
        return all_pages(
            self._transport, lambda offset, size: requests.unit_page("projects", Project, chosen, offset, size), limit
        )

    def get(self, project: str) -> Project:
        """Return a project by name or id."""
        return self._transport.call(requests.get(requests.unit_path("projects", project), requests.one(Project)))

    def create(
        self, name: str, *, department: str = "", resources: Sequence[Mapping[str, Any]] = (), **fields: Any
    ) -> Project:
        """Create a project: ``create("vision", department="research", resources=[quota(gpus=4)])``.

        `fields` are further members of the API's body, for example `description`.
        """
        body = requests.unit_body(name, resources, {"parentId": department or None, **fields})
        return self._transport.call(
            requests.send("POST", f"{requests.API}/org-unit/projects", requests.one(Project), body)
        )

    def update(self, project: str, **fields: Any) -> Project:
        """Change a project; what is left out stays."""
        path = requests.unit_path("projects", project)
        return self._transport.call(requests.send("PUT", path, requests.one(Project), fields))

    def delete(self, project: str) -> None:
        """Delete a project that has no workloads left."""
        self._transport.call(requests.send("DELETE", requests.unit_path("projects", project), requests.as_it_is))


class Departments:
    """Departments: groups of projects that share quota."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, limit: int | None = None, **listing: Any) -> tuple[Department, ...]:
        """Return the departments, by name."""
        chosen = Listing(**({"sort_by": "name"} | listing))
        return all_pages(
            self._transport,
            lambda offset, size: requests.unit_page("departments", Department, chosen, offset, size),
            limit,
        )

    def get(self, department: str) -> Department:
        """Return a department by name or id."""
        path = requests.unit_path("departments", department)
        return self._transport.call(requests.get(path, requests.one(Department)))

    def create(self, name: str, *, resources: Sequence[Mapping[str, Any]] = (), **fields: Any) -> Department:
        """Create a department: ``create("research", resources=[quota(gpus=8)])``."""
        body = requests.unit_body(name, resources, fields)
        return self._transport.call(
            requests.send("POST", f"{requests.API}/org-unit/departments", requests.one(Department), body)
        )

    def update(self, department: str, **fields: Any) -> Department:
        """Change a department; what is left out stays."""
        path = requests.unit_path("departments", department)
        return self._transport.call(requests.send("PUT", path, requests.one(Department), fields))

    def delete(self, department: str) -> None:
        """Delete a department that has no projects left."""
        path = requests.unit_path("departments", department)
        self._transport.call(requests.send("DELETE", path, requests.as_it_is))


class NodePools:
    """Node pools: partitions of the nodes by a label."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> tuple[NodePool, ...]:
        """Return the node pools."""
        return self._transport.call(requests.node_pools())

    def get(self, pool: str) -> NodePool:
        """Return a node pool by name or id."""
        path = f"{requests.API}/node-pools/{requests.segment(pool)}"
        return self._transport.call(requests.get(path, requests.one(NodePool)))

    def create(self, name: str, *, label: tuple[str, str], **fields: Any) -> NodePool:
        """Create the pool of the nodes with this label: ``create("a100", label=("gpu", "a100"))``."""
        body = {"name": name, "labelKey": label[0], "labelValue": label[1], **fields}
        return self._transport.call(requests.send("POST", f"{requests.API}/node-pools", requests.one(NodePool), body))

    def update(self, pool: str, **fields: Any) -> NodePool:
        """Change a node pool; what is left out stays."""
        path = f"{requests.API}/node-pools/{requests.segment(pool)}"
        return self._transport.call(requests.send("PATCH", path, requests.one(NodePool), fields, repeatable=True))

    def delete(self, pool: str) -> None:
        """Delete a node pool; its nodes fall to the default one."""
        path = f"{requests.API}/node-pools/{requests.segment(pool)}"
        self._transport.call(requests.send("DELETE", path, requests.as_it_is))


class Policies:
    """Policies: defaults and rules for one type of workload in one scope."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> tuple[Policy, ...]:
        """Return all policies."""
        return self._transport.call(requests.policies())

    def get(self, type_: str, *, scope: str = "tenant", name: str = "") -> Policy:
        """Return the policy of a type of workload in a scope; `name` is that of the project or department."""
        query = requests.scope_query(scope, name)
        return self._transport.call(requests.get(requests.policy_path(type_), requests.one(Policy), query))

    def apply(self, type_: str, policy: Mapping[str, Any], *, scope: str = "tenant", name: str = "") -> Policy:
        """Put a policy in the place of the one of its type and scope.

        Raises:
            InvalidRequest: it names each field that is wrong; nothing was changed.
        """
        body = {"meta": requests.scope_members(scope, name), "policy": dict(policy)}
        return self._transport.call(requests.send("PUT", requests.policy_path(type_), requests.one(Policy), body))

    def delete(self, type_: str, *, scope: str = "tenant", name: str = "") -> None:
        """Delete the policy of a type of workload in a scope."""
        call = requests.send("DELETE", requests.policy_path(type_), requests.as_it_is)
        self._transport.call(requests.with_query(call, requests.scope_query(scope, name)))

    def validate(self, type_: str, policy: Mapping[str, Any], *, scope: str = "tenant", name: str = "") -> Any:
        """Check a policy without keeping it; return what is wrong, field by field."""
        body = {"type": type_, "meta": requests.scope_members(scope, name), "policy": dict(policy)}
        path = f"{requests.API}/policies/validate"
        return self._transport.call(requests.send("POST", path, requests.as_it_is, body, repeatable=True))
