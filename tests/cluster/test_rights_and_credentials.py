"""What people may do with kubectl follows their access rules; what pods are given follows their credentials."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from runai_core.model.assets import CREDENTIALS, Asset, AssetKind
from runai_core.model.errors import NotFound
from runai_core.model.identity import User
from runai_core.model.organization import SYSTEM, AccessRule
from runai_core.operator.install.rbac import roles
from runai_core.plugins.builtin import KINDS
from runai_core.service.assets import AssetDraft
from runai_core.service.rules import NewRule
from tests.cluster.cluster import Cluster
from tests.cluster.fakes import add_fake_nodes, remove_nodes
from tests.cluster.kube import Kube, Object, Refused
from tests.cluster.running import Running, eventually, fake, make_project, real, running

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

ANN, TEAM = "ann@example.org", "runai-test:team"
"""A user of the cluster whom nothing allows anything, and her group."""

RESEARCHER, VIEWER = "L1 researcher", "Viewer"
CLUSTER_ROLES = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
WAIT = 90.0


@pytest.fixture(scope="module")
def run(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An orchestrator, a project, the roles of people as they are installed, and a fake node."""
    nodes = add_fake_nodes(cluster, 1, prefix="rights")
    try:
        with running(cluster, tmp_path_factory.mktemp("orchestrator")) as found:
            for role in roles(KINDS, "runai"):
                if role["kind"] == "ClusterRole" and role["metadata"]["name"].startswith("runai-project-"):
                    found.kube.patch(f"{CLUSTER_ROLES}/{role['metadata']['name']}", role, kind="apply")
            yield found
    finally:
        remove_nodes(cluster, nodes)


@pytest.fixture
def ann(run: Running) -> Iterator[Kube]:
    """Requests of a real user, whom the API server knows by her token."""
    store = run.orchestrator.backend.store
    try:
        run.call(store.get(User, ANN))
    except NotFound:
        run.call(run.orchestrator.users.create(SYSTEM, ANN))
    with run.cluster.kube(ANN) as kube:
        yield kube


# -- rights


def workloads(namespace: str) -> str:
    return f"/apis/run.ai/v2alpha1/namespaces/{namespace}/trainingworkloads"


def answer(kube: Kube, path: str, body: Object | None = None) -> int:
    """Return how the API server answers a request: a list, or the creation of an object."""
    try:
        if body is None:
            kube.get(path)
        else:
            kube.post(path, body)
    except Refused as refused:
        return refused.status
    return 200


def becomes(kube: Kube, path: str, status: int) -> None:
    """Wait until the API server answers so: rules become role bindings, and it must have seen those."""
    eventually(lambda: answer(kube, path) == status, seconds=WAIT)


def give(run: Running, role: str, scope_type: str, scope: str = "", **subject: str) -> AccessRule:
    who = {"subject": ANN, "subject_type": "user", **subject}
    return run.call(
        run.orchestrator.rules.create(SYSTEM, NewRule(role=role, scope_type=scope_type, scope=scope, **who))
    )


def take(run: Running, rule: AccessRule) -> None:
    run.call(run.orchestrator.rules.delete(SYSTEM, rule.meta.uid))


def a_training(name: str) -> Object:
    meta = {"name": name}
    return {"apiVersion": "run.ai/v2alpha1", "kind": "TrainingWorkload", "metadata": meta, "spec": fake("1s")}


def test_a_rule_opens_the_namespace_of_its_project_and_its_end_closes_it(run: Running, ann: Kube) -> None:
    path = workloads(run.namespace)
    assert answer(ann, path) == 403
    assert answer(ann, path, a_training("early")) == 403

    rule = give(run, RESEARCHER, "project", run.project)
    becomes(ann, path, 200)
    assert answer(ann, path, a_training("by-ann")) == 200
    assert answer(ann, workloads("default")) == 403, "nowhere else"
    assert answer(ann, "/apis/run.ai/v1/projects") == 403, "nothing of the whole cluster"
    run.reaches(f"{path}/by-ann", "Completed", seconds=WAIT)

    take(run, rule)
    becomes(ann, path, 403)
    assert answer(ann, path, a_training("late")) == 403


def test_who_may_only_view_sees_and_changes_nothing(run: Running, ann: Kube) -> None:
    path = workloads(run.namespace)
    rule = give(run, VIEWER, "project", run.project)
    try:
        becomes(ann, path, 200)
        assert answer(ann, path, a_training("not-mine")) == 403
        assert answer(ann, f"/api/v1/namespaces/{run.namespace}/secrets") == 403
    finally:
        take(run, rule)
    becomes(ann, path, 403)


def test_a_rule_for_a_group_and_a_wider_scope_opens_every_project_below(run: Running, ann: Kube) -> None:
    other = f"{run.project}-b"
    namespace = make_project(run.kube, other, gpus=1)
    rule = give(run, VIEWER, "tenant", subject=TEAM, subject_type="group")
    try:
        for place in (run.namespace, namespace):
            becomes(ann, workloads(place), 200)
    finally:
        take(run, rule)
    for place in (run.namespace, namespace):
        becomes(ann, workloads(place), 403)
    run.kube.delete(f"/apis/run.ai/v1/projects/{other}")
    run.kube.delete(f"/api/v1/namespaces/{namespace}")


def test_a_binding_that_somebody_takes_away_by_hand_comes_back(run: Running, ann: Kube) -> None:
    rule = give(run, VIEWER, "project", run.project)
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{run.namespace}/rolebindings/runai-project-viewer"
    try:
        first = run.kube.wait(path, bool, seconds=WAIT)["metadata"]["uid"]
        run.kube.delete(path)
        run.kube.wait(path, lambda seen: seen and seen["metadata"]["uid"] != first, seconds=WAIT)
    finally:
        take(run, rule)
    run.kube.wait_gone(path, seconds=WAIT)


# -- credentials


def secret_path(run: Running, name: str) -> str:
    return f"/api/v1/namespaces/{run.namespace}/secrets/{name}"


def opened(secret: Object) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in (secret.get("data") or {}).items()}


def keep(run: Running, title: str, **pairs: str) -> Asset:
    """Create a credential of the project."""
    draft = AssetDraft(
        kind=AssetKind.GENERIC_SECRET, title=title, scope_type="project", scope=run.project, spec=_spec(pairs)
    )
    return run.call(run.orchestrator.assets.create(SYSTEM, draft))


def _spec(pairs: dict[str, str]) -> dict[str, Any]:
    return {"keyValuePairs": [{"key": key, "value": value} for key, value in pairs.items()]}


def using(secret: str) -> Object:
    return {"environment": {"items": {"TOKEN": {"value": f"SECRET:{secret},token"}}}}


def test_a_credential_reaches_the_pods_and_its_secret_changes_and_goes_with_it(run: Running) -> None:
    asset = keep(run, "wandb", token="first")
    path = secret_path(run, "wandb")
    assert run.kube.wait(path, lambda seen: not seen) == {}, "no workload needs it yet"

    workload = run.apply("TrainingWorkload", "uses", fake("1s", **using("wandb")))
    assert opened(run.kube.wait(path, bool, seconds=WAIT)) == {"token": "first"}
    pod = eventually(lambda: run.pods("uses"), seconds=WAIT)[0]
    [variable] = [item for item in pod["spec"]["containers"][0]["env"] if item["name"] == "TOKEN"]
    assert variable["valueFrom"]["secretKeyRef"] == {"name": "wandb", "key": "token"}

    changed = _spec({"token": "second"})
    run.call(run.orchestrator.assets.update(SYSTEM, asset.meta.uid, CREDENTIALS, spec=changed))
    run.kube.wait(path, lambda seen: opened(seen) == {"token": "second"}, seconds=WAIT)

    run.reaches(workload, "Completed", seconds=WAIT)
    run.kube.delete(workload)
    run.kube.wait_gone(workload, seconds=WAIT)
    run.call(run.orchestrator.assets.delete(SYSTEM, asset.meta.uid, CREDENTIALS))
    run.kube.wait_gone(path, seconds=WAIT)


def test_a_secret_of_somebody_else_is_used_and_never_touched(run: Running) -> None:
    path = secret_path(run, "theirs")
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "theirs"}, "stringData": {"token": "their own"}}
    before = run.kube.post(path.rpartition("/")[0], body)
    asset = keep(run, "theirs", token="ours")
    other = keep(run, "beside", token="ours too")

    workload = run.apply("TrainingWorkload", "uses-theirs", fake("1s", **using("theirs")))
    second = run.apply("TrainingWorkload", "uses-beside", fake("1s", **using("beside")))
    run.reaches(workload, "Completed", seconds=WAIT)
    run.reaches(second, "Completed", seconds=WAIT)
    for item in (asset, other):
        run.call(run.orchestrator.assets.delete(SYSTEM, item.meta.uid, CREDENTIALS))
    run.kube.wait_gone(secret_path(run, "beside"), seconds=WAIT)  # what is ours was looked at, and went

    after = run.kube.get(path)
    assert (after["metadata"]["uid"], opened(after)) == (before["metadata"]["uid"], {"token": "their own"})


@pytest.mark.usefixtures("real_nodes")
def test_a_container_sees_the_credential(run: Running) -> None:
    asset = keep(run, "real", token="it is seen")
    spec = real(["/bin/sh", "-c", 'echo "the token: $TOKEN"'], **using("real"))

    workload = run.apply("TrainingWorkload", "sees", spec)
    uid = run.reaches(workload, "Completed", seconds=WAIT)["metadata"]["uid"]

    assert run.log(uid) == "the token: it is seen\n"
    run.kube.delete(workload)
    run.call(run.orchestrator.assets.delete(SYSTEM, asset.meta.uid, CREDENTIALS))
    run.kube.wait_gone(secret_path(run, "real"), seconds=WAIT)
