"""How the tests and the demo start real Spark and real Airflow pods on the real nodes of a test cluster.

No image of either can be fetched: this machine's own Java, Python and pyspark are mounted into real containers.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.cluster.images import HOST, ROOT, a_container, host_volumes
from tests.cluster.kube import Kube, Object

if TYPE_CHECKING:
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator

IMAGE = ROOT / "integrations" / "spark" / "tests" / "image"
"""What Spark's image would bring: its entry point, the script that finds GPUs, and an application."""


LIGHT = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"
"""Java for programs that last some seconds: it does not optimize what will not run again."""


def allow_drivers(kube: Kube, namespace: str) -> None:
    """Let pods of a namespace make pods there, as Spark's drivers do."""
    account = {"kind": "ServiceAccount", "name": "default", "namespace": namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"}
    body = {"metadata": {"name": "spark"}, "subjects": [account], "roleRef": role}
    kube.post(f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings", body)


def spark_template() -> Object:
    """Return the user's own template of Spark's pods."""
    java = Path(shutil.which("java") or "").resolve().parents[1]
    container, volumes = a_container(["python", str(IMAGE / "entrypoint.py")]), host_volumes()
    container["env"] += [{"name": "JAVA_HOME", "value": str(java)}, {"name": "JAVA_TOOL_OPTIONS", "value": LIGHT}]
    for path in (*sorted(Path("/etc").glob("java-*-openjdk")), Path("/etc/ssl/certs")):
        name = path.name.replace("_", "-")
        container["volumeMounts"].append({"name": name, "mountPath": str(path), "readOnly": True})
        volumes.append({"name": name, "hostPath": {"path": str(path)}})
    spec = {"containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 1}
    return {"apiVersion": "v1", "kind": "Pod", "spec": spec}


def spark_settings(folder: Path) -> Mapping[str, str]:
    """Return the settings with which Spark's pods run on real nodes; their template is written into the folder."""
    path = folder / "pod.yaml"
    path.write_text(yaml.safe_dump(spark_template()))
    return {
        **{f"spark.kubernetes.{role}.podTemplateFile": str(path) for role in ("driver", "executor")},
        "spark.kubernetes.container.image": HOST,
        "spark.kubernetes.container.image.pullPolicy": "Never",
        "spark.kubernetes.authenticate.driver.serviceAccountName": "default",
        "spark.kubernetes.node.selector.type": "real",
        "spark.kubernetes.driver.request.cores": "0.2",
        "spark.kubernetes.executor.request.cores": "0.2",
        "spark.executor.resource.gpu.discoveryScript": str(IMAGE / "gpus.sh"),
        "spark.pyspark.python": sys.executable,
        "spark.ui.enabled": "false",
    }


def spark_submit(
    kubeconfig: Path, project: str, namespace: str, words: Sequence[str], settings: Mapping[str, str]
) -> None:
    """Run our spark-submit in cluster mode; it returns when the driver's pod was made."""
    server = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    every = {
        "spark.kubernetes.namespace": namespace,
        "spark.kubernetes.submission.waitAppCompletion": "false",
        **settings,
    }
    conf = [word for key, value in every.items() for word in ("--conf", f"{key}={value}")]
    ours = ("--master", f"k8s://{server}", "--deploy-mode", "cluster", "--project", project)
    done = subprocess.run(
        [sys.executable, "-m", "runai_spark.submit", *ours, *conf, *words],
        env={**os.environ, "KUBECONFIG": str(kubeconfig), "SPARK_LOCAL_IP": "127.0.0.1", "JAVA_TOOL_OPTIONS": LIGHT},
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def airflow_environ(home: Path, project: str) -> dict[str, str]:
    """Return the environment of an Airflow that puts its pods under our scheduler."""
    return {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "300",  # Kubernetes' client alone may take half a minute of a busy core
        "AIRFLOW__RUNAI__SCHEDULE_PODS": "True",
        "AIRFLOW__RUNAI__PROJECT": project,
        "PYTHONPATH": str(ROOT),
    }


def a_pod_task(name: str, program: str, *, namespace: str, kubeconfig: str, **more: Any) -> "KubernetesPodOperator":
    """Return a task of Airflow's own that runs a program of this machine in a pod with one GPU; DAGs call it."""
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
    from kubernetes.client import models as k8s  # type: ignore[import-untyped]

    container = a_container(["python", "-c", program])
    return KubernetesPodOperator(
        task_id=name,
        name=name,
        namespace=namespace,
        image=container["image"],
        image_pull_policy="Never",
        cmds=container["command"],
        env_vars={item["name"]: item["value"] for item in container["env"]},
        volumes=[
            k8s.V1Volume(name=item["name"], host_path=k8s.V1HostPathVolumeSource(path=item["hostPath"]["path"]))
            for item in host_volumes()
        ],
        volume_mounts=[
            k8s.V1VolumeMount(name=item["name"], mount_path=item["mountPath"], read_only=True)
            for item in container["volumeMounts"]
        ],
        container_resources=k8s.V1ResourceRequirements(limits={"nvidia.com/gpu": "1"}),
        node_selector={"type": "real"},
        config_file=kubeconfig,
        in_cluster=False,
        termination_grace_period=1,
        poll_interval=0.5,
        on_finish_action="keep_pod",
        startup_timeout_seconds=200,
        **more,
    )
