"""Which right every operation of the API needs: one table, read before anything of the request is.

Here it is enough to have the right somewhere; the services ask again, in the
scope of the thing. So nobody who lacks a right learns from errors of a body
what the body should be, and an operation cannot be forgotten: a test fails for
one that has no row.
"""

from collections.abc import Mapping, Sequence
from typing import cast

from starlette.requests import HTTPConnection

from runai_core.bootstrap import Orchestrator
from runai_core.model.organization import Action
from runai_core.web.gate import actor_of, is_open

Right = tuple[Action, str] | None  # None: whoever is known

ANYBODY = None

METHODS: Mapping[str, Action] = {
    "GET": Action.READ,
    "POST": Action.CREATE,
    "PUT": Action.UPDATE,
    "PATCH": Action.UPDATE,
    "DELETE": Action.DELETE,
}

PREFIXES: Sequence[tuple[str, str | None]] = (
    ("/api/v1/workloads/workspaces", "workspaces"),
    ("/api/v1/workloads/trainings", "trainings"),
    ("/api/v1/workloads/distributed-inferences", "inferences"),
    ("/api/v1/workloads/distributed", "trainings"),
    ("/api/v1/workloads/inferences", "inferences"),
    ("/api/v1/workloads", "workloads"),
    ("/api/v2/workloads", "workloads"),
    ("/api/v1/org-unit/projects", "project"),
    ("/api/v1/org-unit/departments", "department"),
    ("/api/v1/org-unit/reports", "dashboards-consumption"),
    ("/api/v1/org-unit/priorities", "project"),
    ("/api/v1/node-pools", "nodepools"),
    ("/api/v1/nodes", "nodes"),
    ("/api/v1/clusters", "cluster"),
    ("/api/v1/policies", "policies"),
    ("/api/v2/policy", "policies"),
    ("/api/v1/authorization/access-rules", "access_rules"),
    ("/api/v1/authorization/roles", "roles"),
    ("/api/v2/authorization/roles", "roles"),
    ("/api/v1/authorization/permission-sets", "roles"),
    ("/api/v1/authorization", ANYBODY),  # one's own rights, and which there are
    ("/api/v1/users", "users"),
    ("/api/v1/service-accounts", "service-account"),
    ("/api/v1/apps", "apps"),
    ("/api/v1/access-keys", ANYBODY),  # one's own
    ("/api/v1/user-applications", ANYBODY),
    ("/api/v1/administration", "access-keys"),
    ("/api/v1/me", ANYBODY),
    ("/api/v1/sessions", ANYBODY),
    ("/api/v1/idps", "security-settings"),
    ("/api/v1/audit", "events-history"),
    ("/api/v1/asset/compute", "compute-resources"),
    ("/api/v1/asset/credentials", "credentials"),
    ("/api/v1/asset/datasource/pvc", "pvc-assets"),
    ("/api/v1/asset/datasource/git", "git-assets"),
    ("/api/v1/asset/datasource/host-path", "host-path-assets"),
    ("/api/v1/asset/datasource/nfs", "nfs-assets"),
    ("/api/v1/asset/datasource/s3", "s3-assets"),
    ("/api/v1/asset/datasource/config-map", "cm-volume-assets"),
    ("/api/v1/asset/datasource/secrets", "secret-volume-assets"),
    ("/api/v1/asset/datasource", "git-assets"),  # all kinds have the same rights
    ("/api/v1/asset/environment", "environments"),
    ("/api/v1/asset/registries", "registries"),
    ("/api/v1/asset/workload-template", "templates"),
    ("/api/v1/workload-templates", "templates"),
    ("/api/v1/datavolumes", "datavolumes"),
    ("/api/v1/workload-types", "workload-properties"),
    ("/api/v1/workload-priorities", "workload-properties"),
    ("/api/v1/workload-categories", "workload-properties"),
    ("/api/v1/notification-channels", "settings"),
    ("/api/v1/validate-notification-channel", "settings"),
    ("/api/v1/notification-state", "settings"),
    ("/api/v1/notification-types", ANYBODY),
    ("/api/v1/subscriptions", ANYBODY),  # one's own
    ("/api/v1/plugins", "settings"),
    ("/api/v1/status", "settings"),
    ("/api/v1/security/settings", "security-settings"),
    ("/api/v1/storage-classes", "storage-class-configuration"),
    ("/api/v2/storage-classes", "storage-class-configuration"),
    ("/api/v1/storage-class-configuration", "storage-class-configuration"),
    ("/api/v1/network-topologies", "network-topologies"),
    ("/api/v1/logo", "branding-settings"),
    ("/v1/k8s/setting", "settings"),
    ("/metrics", "scrapeable-metrics"),
)
"""Beginning of a path -> resource type, the first that fits; the action is the method's."""

_LEGACY = "/v1/k8s/clusters/{cluster_id}"

_PLACES: Mapping[str, Right] = {
    f"GET {_LEGACY}/departments": (Action.READ, "department"),
    f"PUT {_LEGACY}/departments/{{department_id}}/access-control": (Action.DELETE, "access_rules"),
    f"GET {_LEGACY}/projects": (Action.READ, "project"),
    f"POST {_LEGACY}/projects": (Action.CREATE, "project"),
    f"GET {_LEGACY}/projects/{{project_id}}": (Action.READ, "project"),
    f"PUT {_LEGACY}/projects/{{project_id}}": (Action.UPDATE, "project"),
    f"DELETE {_LEGACY}/projects/{{project_id}}": (Action.DELETE, "project"),
    f"GET {_LEGACY}/node-pools": (Action.READ, "nodepools"),
    f"POST {_LEGACY}/node-pools": (Action.CREATE, "nodepools"),
    f"PUT {_LEGACY}/node-pools/{{node_pool_id}}": (Action.UPDATE, "nodepools"),
    f"PUT {_LEGACY}/node-pools/{{node_pool_id}}/labels": (Action.UPDATE, "nodepools"),
    f"DELETE {_LEGACY}/node-pools/{{node_pool_id}}": (Action.DELETE, "nodepools"),
    "GET /v1/k8s/clusters/{cluster_uuid}/installfile": (Action.UPDATE, "cluster-config"),
    f"GET {_LEGACY}/storage-classes": (Action.READ, "storage-class-configuration"),
}

_ONE = "/api/v1/clusters/{cluster_uuid}"

OPERATIONS: Mapping[str, Right] = {
    **_PLACES,
    # What a workload is of decides which right it needs: the service knows when it has it.
    "DELETE /api/v1/workloads/{workload_id}": (Action.READ, "workloads"),
    "DELETE /api/v2/workloads/{workload_id}": (Action.READ, "workloads"),
    "POST /api/v1/workloads/batch": (Action.READ, "workloads"),
    "POST /api/v1/workloads/preview": (Action.READ, "workloads"),
    **{
        f"POST /api/v1/workloads/{kind}/{{workload_id}}/{verb}": (Action.UPDATE, resource)
        for kind, resource in (("workspaces", "workspaces"), ("trainings", "trainings"), ("distributed", "trainings"))
        for verb in ("suspend", "resume", "scale")
    },
    "POST /api/v1/policies/validate": (Action.READ, "policies"),
    # Whose accounts and keys one may change depends on their rights; the services compare.
    "POST /api/v1/users/{user_id}/logout": (Action.UPDATE, "users"),
    "POST /api/v1/users/{user_id}/password": (Action.UPDATE, "users"),
    "POST /api/v1/service-accounts/{account_id}/secret": (Action.UPDATE, "service-account"),
    "POST /api/v1/apps/{account_id}/secret": (Action.UPDATE, "apps"),
    "POST /api/v1/authorization/access-rules/batch": (Action.DELETE, "access_rules"),
    # Reports are numbers of what one may read.
    "POST /api/v1/org-unit/reports": (Action.READ, "dashboards-consumption"),
    "DELETE /api/v1/org-unit/reports/{report_id}": (Action.READ, "dashboards-consumption"),
    "POST /api/v1/asset/credentials/rotate-key": (Action.UPDATE, "security-settings"),
    "PATCH /api/v1/datavolumes/{datavolume_id}/shared-scopes": (Action.UPDATE, "datavolumes"),
    "POST /api/v1/clusters": (Action.CREATE, "cluster-config"),
    f"PUT {_ONE}": (Action.UPDATE, "cluster-config"),
    f"DELETE {_ONE}": (Action.DELETE, "cluster-config"),
    f"GET {_ONE}/cluster-install-info": (Action.UPDATE, "cluster-config"),
    f"GET {_ONE}/nodes": (Action.READ, "nodes"),
    f"GET {_ONE}/nodes/count": (Action.READ, "nodes"),
    "GET /api/v1/clusters/{cluster_id}/nodepools/{pool}/metrics": (Action.READ, "nodepools"),
}
"""Method and path of an operation -> its right, where the tables above would say something else."""


def has_row(method: str, path: str) -> bool:
    """Return whether the tables know the operation."""
    return f"{method} {path}" in OPERATIONS or any(_is_below(path, prefix) for prefix, _ in PREFIXES)


def right_of(method: str, path: str) -> Right:
    """Return the right that an operation needs; `path` is that of the route, with names in braces."""
    if (key := f"{method} {path}") in OPERATIONS:
        return OPERATIONS[key]
    resource = next((resource for prefix, resource in PREFIXES if _is_below(path, prefix)), ANYBODY)
    return None if resource is None else (METHODS[method], resource)


async def require_right(connection: HTTPConnection) -> None:
    """Raise Forbidden unless who asks has the right of this operation somewhere."""
    path = str(getattr(connection.scope.get("route"), "path", ""))
    actor = actor_of(connection)
    method = connection.scope.get("method", "GET")
    if actor is None or is_open(connection.scope["path"]) or method not in METHODS:
        return
    right = right_of(method, path)
    if right is not None:
        await cast("Orchestrator", connection.app.state.orchestrator).access.require_anywhere(actor, *right)


def _is_below(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(f"{prefix}/")
