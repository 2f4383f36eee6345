"""What is installed: stable, least rights, webhooks that fail open; and the chart says the same."""

import base64
import runpy
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from runai_core.operator.install.manifests import manifests, to_yaml
from runai_core.operator.install.options import Options
from runai_core.operator.install.rbac import PROJECT_SECRETS, RIGHTS, kind_rights
from runai_core.operator.install.webhooks import WEBHOOKS
from runai_core.plugins.builtin import KINDS
from runai_core.plugins.grouping import Gangs, one_gang
from runai_core.plugins.types import RbacRule, WorkloadKind
from tests.cluster import binaries  # at the top: its cache is in the user's home, which tests do not see

ROOT = Path(__file__).parent.parent.parent.parent
MAKER = runpy.run_path(str(ROOT / "tools" / "make_chart.py"))

OPTIONS = Options(image="registry.example/runai:1")


def objects(options: Options = OPTIONS) -> list[dict[str, Any]]:
    return manifests(options, KINDS)


def named(kind: str, name: str, found: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return next(item for item in found or objects() if (item["kind"], item["metadata"]["name"]) == (kind, name))


def key_of(item: Mapping[str, Any]) -> tuple[str, str, str]:
    return item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"]


def test_manifests_are_the_same_every_time_and_survive_yaml() -> None:
    text = to_yaml(objects())

    assert text == to_yaml(objects())
    assert list(yaml.safe_load_all(text)) == objects()


def test_no_object_is_there_twice() -> None:
    keys = [key_of(item) for item in objects()]

    assert len(keys) == len(set(keys))


def test_what_others_need_comes_first() -> None:
    kinds = [item["kind"] for item in objects()]

    assert kinds[0] == "Namespace"
    assert max(i for i, kind in enumerate(kinds) if kind == "CustomResourceDefinition") < kinds.index("Deployment")
    assert kinds.index("ServiceAccount") < kinds.index("ClusterRoleBinding") < kinds.index("Deployment")


def test_no_right_is_unlimited() -> None:
    for item in objects():
        for rule in item.get("rules", ()) if item["kind"] in ("ClusterRole", "Role") else ():
            assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"]), item["metadata"]["name"]
            assert not {"escalate", "impersonate"} & set(rule["verbs"])


def test_secrets_are_read_in_our_own_namespace_and_those_of_projects_only() -> None:
    bound = {item["roleRef"]["name"] for item in objects() if item["kind"] == "ClusterRoleBinding"}
    for item in objects():
        if item["kind"] == "ClusterRole" and any("secrets" in rule["resources"] for rule in item["rules"]):
            assert item["metadata"]["name"].startswith("runai-project-")
            assert item["metadata"]["name"] not in bound


def test_every_right_says_why() -> None:
    assert [right for rights in (*RIGHTS.values(), PROJECT_SECRETS) for right in rights if not right.reason] == []


def test_the_operator_may_bind_only_roles_for_the_namespaces_of_projects() -> None:
    rules = [rule for rule in named("ClusterRole", "runai-operator")["rules"] if "bind" in rule["verbs"]]

    assert [rule["resourceNames"] for rule in rules] == [
        [
            "runai-project-administrator",
            "runai-project-researcher",
            "runai-project-viewer",
            "runai-project-secrets",
        ]
    ]


def test_a_plug_in_brings_the_rights_for_its_kind_and_for_nothing_else() -> None:
    kind = WorkloadKind(
        api_version="ray.io/v1",
        kind="RayJob",
        adapter=Gangs(one_gang),
        rbac=(RbacRule(api_groups=("ray.io",), resources=("rayclusters",), verbs=("get", "list", "watch", "patch")),),
    )

    writes = [right.rule() for right in kind_rights([kind], ("get", "list", "watch", "patch", "delete"))]
    reads = [right.rule() for right in kind_rights([kind], ("get", "list", "watch"))]

    assert {
        "apiGroups": ["ray.io"],
        "resources": ["rayjobs"],
        "verbs": ["get", "list", "watch", "patch", "delete"],
    } in writes
    assert {"apiGroups": ["ray.io"], "resources": ["rayclusters"], "verbs": ["get", "list", "watch", "patch"]} in writes
    assert reads == [
        {"apiGroups": ["ray.io"], "resources": ["rayclusters", "rayjobs"], "verbs": ["get", "list", "watch"]}
    ]
    assert not any("ray.io" in str(item) for item in objects())


def test_processes_run_as_nobody_and_can_be_watched() -> None:
    for item in (one for one in objects() if one["kind"] == "Deployment"):
        pod = item["spec"]["template"]["spec"]
        container = pod["containers"][0]
        assert pod["securityContext"]["runAsNonRoot"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["requests"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"]["path"] in ("/healthz", "/readyz")
        assert container["image"] == OPTIONS.image


@pytest.mark.parametrize("component", ["scheduler", "operator", "api"])
def test_the_arguments_are_those_of_our_own_commands(component: str) -> None:
    import click

    from runai_core.cli.main import COMMANDS, load

    words = named("Deployment", f"runai-{component}")["spec"]["template"]["spec"]["containers"][0]["args"]
    command = load(COMMANDS[words[0]].home)
    known = {name for option in command.params if isinstance(option, click.Option) for name in option.opts}

    assert words[0] == component
    assert {word.partition("=")[0] for word in words[1:]} <= known


def test_webhooks_fail_open_and_are_quick() -> None:
    for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
        for entry in named(kind, "runai")["webhooks"]:
            assert entry["failurePolicy"] == "Ignore"
            assert entry["timeoutSeconds"] <= 5
            assert entry["sideEffects"] == "None"


def test_nobody_asks_us_about_pods_outside_projects() -> None:
    entries = [
        entry
        for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
        for entry in named(kind, "runai")["webhooks"]
        if any("pods" in rule["resources"] for rule in entry["rules"])
    ]

    assert entries
    for entry in entries:
        assert {"key": "runai/queue", "operator": "Exists"} in entry["namespaceSelector"]["matchExpressions"]


def test_every_webhook_says_what_happens_when_it_is_down() -> None:
    assert all(item.when_down and item.question for item in WEBHOOKS)


def test_options_reach_the_manifests() -> None:
    options = Options(
        image="x",
        namespace="ai",
        replicas=3,
        node_selector={"role": "system"},
        webhooks=False,
        pull_secrets=("pull",),
        allowed_hosts=("ai.example",),
    )
    found = objects(options)
    deployment = named("Deployment", "runai-operator", found)

    assert deployment["metadata"]["namespace"] == "ai"
    assert deployment["spec"]["replicas"] == 3
    assert deployment["spec"]["template"]["spec"]["nodeSelector"] == {"role": "system"}
    assert "--no-webhook" in deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    assert not [item for item in found if "Webhook" in item["kind"]]
    assert "ai.example" in str(named("Deployment", "runai-api", found))
    bindings = [item for item in found if item["kind"] in ("ClusterRoleBinding", "RoleBinding")]
    assert {subject["namespace"] for item in bindings for subject in item["subjects"]} == {"ai"}


RECORDING = ("operator", "api")


def variables(component: str, found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    container = named("Deployment", f"runai-{component}", found)["spec"]["template"]["spec"]["containers"][0]
    return {item["name"]: item for item in container["env"]}


def volumes(component: str, found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    pod = named("Deployment", f"runai-{component}", found)["spec"]["template"]["spec"]
    assert {item["name"] for item in pod["volumes"]} == {item["name"] for item in pod["containers"][0]["volumeMounts"]}
    return {item["name"]: item for item in pod["volumes"]}


def test_without_a_database_the_processes_share_a_file_on_one_volume_of_one_node() -> None:
    found = objects(Options(image="x", storage_size="7Gi", storage_class="fast"))

    claim = named("PersistentVolumeClaim", "runai-records", found)
    assert claim["spec"]["storageClassName"] == "fast"
    assert claim["spec"]["resources"] == {"requests": {"storage": "7Gi"}}
    for component in RECORDING:
        assert volumes(component, found)["records"]["persistentVolumeClaim"] == {"claimName": "runai-records"}
        assert variables(component, found)["RUNAI_DATABASE_URL"]["value"].startswith(
            "sqlite:////var/lib/runai-records/"
        )
        affinity = named("Deployment", f"runai-{component}", found)["spec"]["template"]["spec"]["affinity"]
        [term] = affinity["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert term["topologyKey"] == "kubernetes.io/hostname"
        assert term["labelSelector"]["matchExpressions"][1]["values"] == ["api", "operator"]


@pytest.mark.parametrize(
    ("options", "secret"),
    [
        pytest.param({"database_url": "postgresql://a:b@c/d"}, "runai-database", id="by its URL"),
        pytest.param({"database_secret": "mine"}, "mine", id="by a Secret that is there"),
    ],
)
def test_with_a_database_all_processes_get_its_url_from_a_secret(options: dict[str, str], secret: str) -> None:
    found = objects(Options(image="x", **options))  # type: ignore[arg-type]

    assert not [item for item in found if item["kind"] == "PersistentVolumeClaim"]
    assert [item["metadata"]["name"] for item in found if item["kind"] == "Secret"] == (
        [secret] if "database_url" in options else []
    )
    for component in RECORDING:
        source = variables(component, found)["RUNAI_DATABASE_URL"]["valueFrom"]
        assert source == {"secretKeyRef": {"name": secret, "key": "url"}}
        assert "records" not in volumes(component, found)
        assert "affinity" not in named("Deployment", f"runai-{component}", found)["spec"]["template"]["spec"]


def test_the_url_of_a_database_is_in_its_secret_and_nowhere_else() -> None:
    found = objects(Options(image="x", database_url="postgresql://a:Kxyzzy9@c/d"))

    assert base64.b64decode(named("Secret", "runai-database", found)["data"]["url"]) == b"postgresql://a:Kxyzzy9@c/d"
    assert "Kxyzzy9" not in to_yaml(found)


def test_the_scheduler_keeps_no_records_and_sees_none() -> None:
    found = objects()

    assert "RUNAI_DATABASE_URL" not in variables("scheduler", found)
    assert set(volumes("scheduler", found)) == {"data", "tmp"}


def test_the_api_reads_the_keys_of_credentials_from_the_secret_that_the_operator_makes() -> None:
    found = objects()

    assert volumes("api", found)["secrets"]["secret"]["secretName"] == "runai-secrets-key"
    mounts = named("Deployment", "runai-api", found)["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    [folder] = [item["mountPath"] for item in mounts if item["name"] == "secrets"]
    assert variables("api", found)["RUNAI_SECRETS_KEY_FILE"]["value"] == f"{folder}/secrets.key"
    assert not [item for item in found if item["kind"] == "Secret"], "no manifest may hold a key"


COMPONENT_NAMES = ("scheduler", "operator", "api")
LINKED: dict[str, Any] = {"control_plane_url": "https://runai.example:8443", "join_token": "west.Kxyzzy9"}


def test_only_the_operator_learns_of_a_control_plane_and_from_a_secret() -> None:
    found = objects(Options(image="x", **LINKED))

    [secret] = [item for item in found if item["kind"] == "Secret"]
    data = {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}
    assert data == {"url": "https://runai.example:8443", "token": "west.Kxyzzy9"}
    source = variables("operator", found)["RUNAI_CONTROL_PLANE_URL"]["valueFrom"]["secretKeyRef"]
    assert source == {"name": "runai-link", "key": "url", "optional": True}
    mounted = volumes("operator", found)["link"]["secret"]
    assert (mounted["secretName"], mounted["optional"]) == ("runai-link", True)
    assert variables("operator", found)["RUNAI_JOIN_TOKEN_FILE"]["value"] == "/etc/runai/link/token"
    for component in ("api", "scheduler"):
        assert "RUNAI_CONTROL_PLANE_URL" not in variables(component, found)
        assert "link" not in volumes(component, found)
    assert "Kxyzzy9" not in to_yaml(found)


def test_another_control_plane_starts_the_operator_anew_and_no_other_process() -> None:
    def templates(options: Options) -> dict[str, object]:
        found = objects(options)
        return {name: named("Deployment", f"runai-{name}", found)["spec"]["template"] for name in COMPONENT_NAMES}

    before, after = templates(Options(image="x")), templates(Options(image="x", **LINKED))

    assert {name for name in COMPONENT_NAMES if before[name] != after[name]} == {"operator"}


def test_nothing_runs_in_the_cluster_where_processes_are_elsewhere() -> None:
    found = objects(Options(image="x", workloads=False, webhook_url="https://127.0.0.1:9443"))

    assert not [item for item in found if item["kind"] in ("Deployment", "Service")]
    entry = named("MutatingWebhookConfiguration", "runai", found)["webhooks"][0]
    assert entry["clientConfig"] == {"url": "https://127.0.0.1:9443/mutate/pods"}


# -- the chart


def test_the_chart_was_made_from_the_present_manifests() -> None:
    folder, made = MAKER["CHART"], MAKER["chart"]()
    present = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}

    assert MAKER["marks_left"](made.values()) == []
    assert present == made, "run python tools/make_chart.py"


def helm() -> Path | None:
    found = shutil.which("helm")
    if found is None:
        try:
            return binaries.found("helm")
        except binaries.Unavailable:
            return None
    return Path(found)


def rendered(*settings: str) -> list[dict[str, Any]]:
    program = helm()
    if program is None:
        pytest.skip("helm is neither on PATH nor built (python -m tests.cluster builds it with Go)")
    words = [part for setting in settings for part in ("--set", setting)]
    done = subprocess.run(
        [program, "template", "any", ROOT / "deploy" / "helm" / "runai", "--kube-version", "1.36.0", *words],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found = [item for item in yaml.safe_load_all(done.stdout) if item]
    for item in found:
        if item["kind"] in ("CustomResourceDefinition", "PersistentVolumeClaim"):
            assert item["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    return found


def by_key(found: list[dict[str, Any]]) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {key_of(item): item for item in found}


def test_the_chart_renders_to_the_manifests() -> None:
    from importlib.metadata import version

    wanted = objects(Options(image=f"runai-core:{version('runai-core')}"))

    assert by_key(rendered()) == by_key(wanted)


def test_the_charts_values_are_the_options() -> None:
    wanted = objects(
        Options(
            image="r.example/runai:v7",
            namespace="ai",
            pull_policy="Always",
            pull_secrets=("pull",),
            replicas=3,
            api_replicas=2,
            node_selector={"role": "system"},
            tolerations=({"key": "system", "operator": "Exists"},),
            webhooks=False,
            allowed_hosts=("ai.example", "ai2.example"),
            log_level="debug",
            storage_size="9Gi",
            storage_class="fast",
        )
    )
    found = rendered(
        "database.storage.size=9Gi,database.storage.className=fast",
        "image.repository=r.example/runai,image.tag=v7,image.pullPolicy=Always",
        "namespace=ai,replicas=3,api.replicas=2,webhooks=false,logLevel=debug",
        "imagePullSecrets[0].name=pull,nodeSelector.role=system",
        "tolerations[0].key=system,tolerations[0].operator=Exists",
        "allowedHosts={ai.example,ai2.example}",
    )

    assert by_key(found) == by_key(wanted)


@pytest.mark.parametrize(
    ("value", "options"),
    [
        pytest.param("database.url=postgresql://a:b@c/d", {"database_url": "postgresql://a:b@c/d"}, id="its URL"),
        pytest.param("database.existingSecret=mine", {"database_secret": "mine"}, id="a Secret that has it"),
        pytest.param(
            "database.existingSecret=mine,database.url=postgresql://a:b@c/d",
            {"database_secret": "mine"},
            id="both: the Secret that is there",
        ),
    ],
)
def test_the_chart_takes_a_database(value: str, options: dict[str, str]) -> None:
    from importlib.metadata import version

    wanted = objects(Options(image=f"runai-core:{version('runai-core')}", **options))  # type: ignore[arg-type]

    assert by_key(rendered(value)) == by_key(wanted)


@pytest.mark.parametrize("authority", ["", "PEM"])
def test_the_chart_links_to_a_control_plane(authority: str) -> None:
    from importlib.metadata import version

    wanted = objects(Options(image=f"runai-core:{version('runai-core')}", **LINKED, control_plane_ca=authority))
    values = f"controlPlane.url={LINKED['control_plane_url']},controlPlane.joinToken={LINKED['join_token']}"

    assert by_key(rendered(values, f"controlPlane.ca={authority}")) == by_key(wanted)


def test_the_chart_refuses_values_that_it_does_not_know() -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        rendered("replica=3")

    assert "replica" in refused.value.stderr
