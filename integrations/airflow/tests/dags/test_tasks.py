"""Tasks, groups, functions and sensors that run as they do with `dag.test()`: real Airflow, real workloads."""

# mypy: disable-error-code="misc, untyped-decorator, import-untyped"

from typing import Any

import pytest

from runai_core.client import Client
from tests.airflow_dags import QUICK, RunDag, a_dag, the_workload

pytestmark = [pytest.mark.ecosystem, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(600)]


def test_a_task_is_a_workload_with_its_project_labels_and_link(run_dag: RunDag, client: Client, capfd: Any) -> None:
    from runai_airflow import RunaiWorkloadOperator

    with a_dag("plain") as dag:
        RunaiWorkloadOperator(
            task_id="train",
            command=["sh", "-c", "echo I am $RUNAI_JOB_NAME of $RUNAI_PROJECT in $AIRFLOW_CTX_DAG_ID"],
            **QUICK,
        )

    assert run_dag(dag) == {"train": "success"}

    found = the_workload(client, "plain-train-")
    labels = {item["name"]: item["value"] for item in found.raw["spec"]["labels"]}
    annotations = {item["name"]: item["value"] for item in found.raw["spec"]["annotations"]}
    assert (labels["dag_id"], labels["task_id"], labels["try_number"]) == ("plain", "train", "1")
    assert annotations["run.ai/owner"].startswith("airflow:plain/manual__")
    assert annotations["run_id"].startswith("manual__")
    assert ":" not in labels["run_id"], "Kubernetes would refuse the label"
    assert found.raw["spec"]["relatedUrls"][0]["name"] == "Airflow task"
    printed = capfd.readouterr().out
    assert f"I am {found.name} of team-a in plain" in printed
    assert f"/workloads/{found.id}" in printed


def test_what_others_need_is_in_xcom(run_dag: RunDag, client: Client) -> None:
    from airflow.sdk import task
    from runai_airflow import RunaiWorkloadOperator

    seen: dict[str, Any] = {}

    with a_dag("xcom") as dag:
        train = RunaiWorkloadOperator(task_id="train", command="true", deferrable=True, **QUICK)

        @task
        def read(ti: Any = None) -> None:
            for key in ("workload_id", "workload_name", "workload_status", "workload_url", "_link_RunaiWorkloadLink"):
                seen[key] = ti.xcom_pull(task_ids="train", key=key)

        train >> read()

    assert run_dag(dag) == {"train": "success", "read": "success"}
    found = client.get(seen["workload_id"])
    assert (seen["workload_name"], seen["workload_status"]) == (found.name, "Completed")
    assert seen["workload_url"] == seen["_link_RunaiWorkloadLink"]
    assert seen["workload_url"].endswith(f"/workloads/{found.id}")


def test_a_gang_of_replicas_is_one_workload_and_each_knows_its_rank(
    run_dag: RunDag, client: Client, capfd: Any
) -> None:
    from runai_airflow import RunaiWorkloadOperator

    with a_dag("ranks") as dag:
        RunaiWorkloadOperator(
            task_id="fit",
            command="sh -c 'echo rank $RANK of $WORLD_SIZE'",
            replicas=3,
            gpus=1,
            deferrable=True,
            **QUICK,
        )

    assert run_dag(dag) == {"fit": "success"}

    found = the_workload(client, "ranks-fit-")
    assert (found.type, found.requested_pods, found.gpu_request) == ("Distributed", 3, 3)
    printed = capfd.readouterr().out
    assert all(f"rank {rank} of 3" in printed for rank in range(3)), "the output of every rank is in the task's log"


def test_a_function_runs_as_a_workload_and_its_result_is_the_xcom(run_dag: RunDag, client: Client) -> None:
    from airflow.sdk import task

    got: list[Any] = []

    with a_dag("flow") as dag:

        @task.runai(gpus=0.5, **QUICK)
        def evaluate(x: int, words: list[str]) -> dict[str, Any]:
            import os

            print("not the result")  # noqa: T201
            return {"twice": 2 * x, "words": words, "project": os.environ["RUNAI_PROJECT"]}

        @task
        def keep(value: Any) -> None:
            got.append(value)

        keep(evaluate(21, ["a b", "'quoted'"]))

    assert run_dag(dag) == {"evaluate": "success", "keep": "success"}
    assert got == [{"twice": 42, "words": ["a b", "'quoted'"], "project": "team-a"}]


def test_the_tasks_of_a_group_are_one_gang(run_dag: RunDag, client: Client, capfd: Any) -> None:
    from runai_airflow import RunaiGangTaskGroup, RunaiTask

    with a_dag("grouped") as dag, RunaiGangTaskGroup("step", gpus=1, **QUICK):
        RunaiTask(task_id="server", command=["sh", "-c", 'echo "server is rank $RANK"'])
        RunaiTask(task_id="worker", command="sh -c 'echo worker is rank $RANK of $WORLD_SIZE'", replicas=2)

    states = run_dag(dag)

    assert states == {"step.launch": "success", "step.server": "success", "step.worker": "success"}
    mine = [found for found in client.list() if found.name.startswith("grouped-")]
    assert [(found.type, found.requested_pods, found.gpu_request) for found in mine] == [("Distributed", 3, 3)]
    printed = capfd.readouterr().out
    assert "server is rank 0" in printed
    assert "worker is rank 1 of 3" in printed
    assert "worker is rank 2 of 3" in printed


def test_when_a_member_of_a_group_fails_the_gang_fails_and_nothing_runs_on(
    run_dag: RunDag, client: Client, capfd: Any
) -> None:
    from runai_airflow import RunaiGangTaskGroup, RunaiTask

    with a_dag("half") as dag, RunaiGangTaskGroup("step", **QUICK):
        RunaiTask(task_id="good", command="sleep 600")
        RunaiTask(task_id="bad", command="sh -c 'sleep 0.5; exit 7'")

    states = run_dag(dag)

    assert (states["step.good"], states["step.bad"]) == ("failed", "failed")
    assert the_workload(client, "half-").phase == "Failed"
    assert "exit code 7" in capfd.readouterr().out


def test_a_sensor_waits_for_somebody_elses_workload(run_dag: RunDag, client: Client) -> None:
    from runai_airflow import RunaiWorkloadSensor

    client.trainings.submit("other", command="sleep 1", project="team-a")
    failing = client.trainings.submit("other-bad", command="false", project="team-a", backoff_limit=0)

    with a_dag("sense") as dag:
        RunaiWorkloadSensor(task_id="here", workload="other", project="team-a", poke_interval=0.2)
        RunaiWorkloadSensor(task_id="deferred", workload="other", project="team-a", poke_interval=0.2, deferrable=True)
        RunaiWorkloadSensor(task_id="bad", workload=failing.id, poke_interval=0.2)

    assert run_dag(dag) == {"here": "success", "deferred": "success", "bad": "failed"}


def test_members_of_a_gang_that_cannot_be_one_are_refused_when_the_dag_is_read(airflow_home: Any) -> None:
    from airflow.providers.standard.operators.empty import EmptyOperator
    from runai_airflow import RunaiGangTaskGroup, RunaiTask

    from runai_core.model.errors import InvalidRequest

    with pytest.raises(InvalidRequest, match="start together"), a_dag("chain"), RunaiGangTaskGroup("g"):
        RunaiTask(task_id="a", command="true") >> RunaiTask(task_id="b", command="true")
    with pytest.raises(InvalidRequest, match="only RunaiTask"), a_dag("mixed"), RunaiGangTaskGroup("g"):
        EmptyOperator(task_id="a")
    with pytest.raises(InvalidRequest, match="at least one"), a_dag("none"), RunaiGangTaskGroup("g"):
        pass
    with (
        pytest.raises(InvalidRequest, match="belongs to each RunaiTask"),
        a_dag("opt"),
        RunaiGangTaskGroup("g", replicas=2),
    ):
        pass
