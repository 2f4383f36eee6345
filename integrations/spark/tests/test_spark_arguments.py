"""The words of spark-submit become one workload; nothing runs."""

import json
from pathlib import Path
from typing import Any

import pytest
from runai_spark.arguments import parse, request_of
from runai_spark.kubernetes import conf_for, executor_request, native, pod_template
from runai_spark.workload import gang_options, job_of, spark_options, workload_name

from runai_core.model.errors import InvalidRequest


def test_ours_and_sparks_options_stand_side_by_side() -> None:
    words = "--project team-a --executors 4 --executor-gpu 1 -- --conf spark.sql.shuffle.partitions=64 job.py 10 --x"

    found = parse(words.split())

    assert (found.project, found.executors, found.executor_gpu) == ("team-a", 4, 1)
    assert found.options == ("--conf", "spark.sql.shuffle.partitions=64")
    assert found.words == ("job.py", "10", "--x")


def test_sparks_own_spelling_says_the_same() -> None:
    words = "--master runai --num-executors 3 --executor-memory 2g --conf spark.runai.project=b --name etl a.jar"

    found = parse(words.split())

    assert (found.executors, found.executor_memory, found.project, found.name) == (3, "2g", "b", "etl")


def test_an_option_wins_over_a_setting() -> None:
    assert parse(["--conf", "spark.executor.instances=9", "--executors", "2", "a.py"]).executors == 2


WRONG = {
    "an unknown option": (["--exectors", "4", "a.py"], "--exectors", "did you mean --executors?"),
    "no application": (["--executors", "4"], "application", "is missing"),
    "an option without its value": (["--executors"], "--executors", "needs a value"),
    "executors that are no number": (["--executors", "many", "a.py"], "--executors", "whole number"),
    "memory that is no amount": (["--executor-memory", "much", "a.py"], "--executor-memory", "such as 512m"),
    "a setting without a value": (["--conf", "spark.x", "a.py"], "--conf", "key=value"),
}


@pytest.mark.parametrize(("words", "field", "text"), WRONG.values(), ids=WRONG)
def test_a_wrong_word_is_named(words: list[str], field: str, text: str) -> None:
    with pytest.raises(InvalidRequest, match=text.replace("?", ".")) as caught:
        parse(words)

    assert [error.field for error in caught.value.errors] == [field]


@pytest.mark.parametrize(("heap", "request_"), [("512m", "896Mi"), ("4g", "4505Mi"), ("8G", "9011Mi")])
def test_a_process_asks_for_its_heap_and_sparks_overhead(heap: str, request_: str) -> None:
    assert request_of(heap, "--executor-memory") == request_


def test_the_gang_is_the_driver_and_a_place_for_each_executor() -> None:
    application = parse(
        ["--executors", "4", "--executor-cores", "2", "--executor-gpu", "1", "--driver-memory", "2g", "job.py"]
    )

    kind, options = gang_options(application, job_of(application, "application", "/w"), {})

    assert (kind, options["workers"], options["cpus"], options["gpus"]) == ("Distributed", 4, 2, 1)
    assert options["master"]["compute"] == {
        "cpuCoreRequest": 1,
        "cpuMemoryRequest": "2432Mi",
        "gpuDevicesRequest": 0,
    }


def test_local_mode_is_one_pod() -> None:
    application = parse(["--master", "local[2]", "job.py"])

    kind, options = gang_options(application, job_of(application, "local", ""), {})

    assert (kind, options["memory"]) == ("Training", "1408Mi")


def test_the_driver_waits_for_all_its_executors() -> None:
    job = job_of(parse(["--executors", "3", "--executor-cores", "2", "job.py"]), "application", "")

    words = spark_options(job, "spark://h:1")

    assert {"spark.cores.max=6", "spark.scheduler.minRegisteredResourcesRatio=1.0"} <= set(words)


@pytest.mark.parametrize(
    ("words", "name"),
    [(["My_Job.py"], "my-job-1"), (["7.py"], "spark-7-1"), (["--name", "ETL daily", "x.py"], "etl-daily-1")],
)
def test_the_workload_is_called_as_the_application(words: list[str], name: str) -> None:
    assert workload_name(parse(words), "1") == name


def test_on_kubernetes_our_scheduler_places_driver_and_executors() -> None:
    application = parse(
        ["--master", "k8s://https://h:6443", "--project", "team-a", "--executors", "3", "--priority", "high", "job.py"]
    )

    conf = conf_for(application, Path("/t"))

    assert conf["spark.kubernetes.scheduler.name"] == "runai-scheduler"
    assert conf["spark.kubernetes.executor.label.runai/queue"] == "team-a"
    assert conf["spark.kubernetes.driver.podTemplateFile"] == "/t/driver.yaml"
    assert pod_template("driver", application)["spec"]["containers"][0]["name"] == "spark-kubernetes-driver"


def test_sparks_own_words_reach_it_untouched() -> None:
    words = [
        "--master",
        "k8s://x",
        "--project",
        "team-a",
        "--no-wait",
        "--deploy-mode",
        "cluster",
        "--",
        "--conf",
        "a=b",
        "job.py",
        "--project",
        "mine",
    ]

    assert native(words) == [
        "--master",
        "k8s://x",
        "--deploy-mode",
        "cluster",
        "--conf",
        "a=b",
        "job.py",
        "--project",
        "mine",
    ]


def test_the_users_own_pod_template_is_kept_and_completed() -> None:
    words = "--master k8s://x --project a --conf spark.kubernetes.driver.podTemplateContainerName=main job.py"
    own: dict[str, Any] = {
        "spec": {"nodeName": "n", "containers": [{"name": "side"}, {"name": "main", "env": [{"name": "A"}]}]}
    }

    spec = pod_template("driver", parse(words.split()), own)["spec"]

    assert spec["nodeName"] == "n"
    assert [item["name"] for item in spec["containers"]] == ["side", "spark-kubernetes-driver"]
    assert [item["name"] for item in spec["containers"][1]["env"]][:2] == ["A", "RUNAI_PROJECT"]
    assert own["spec"]["containers"][1]["name"] == "main"


SIZES = {
    "of a program for the JVM": ("--executor-memory 4g job.jar", {"cpu": "1", "memory": "4505Mi"}),
    "of a program in Python": ("--executor-memory 4g job.py", {"cpu": "1", "memory": "5734Mi"}),
    "of a small one": ("--executor-memory 512m --executor-cores 2 job.py", {"cpu": "2", "memory": "896Mi"}),
    "as settings say": (
        "--conf spark.executor.memoryOverhead=1g --conf spark.executor.pyspark.memory=1g"
        " --conf spark.kubernetes.executor.request.cores=500m job.py",
        {"cpu": "500m", "memory": "3072Mi"},
    ),
    "with GPUs": (
        "--executor-gpu 2 --conf spark.executor.memoryOverheadFactor=0.5 job.jar",
        {"cpu": "1", "memory": "1536Mi", "nvidia.com/gpu": "2"},
    ),
}


@pytest.mark.parametrize(("words", "amounts"), SIZES.values(), ids=SIZES)
def test_the_size_of_an_executor_that_is_to_come(words: str, amounts: dict[str, str]) -> None:
    assert executor_request(parse(["--master", "k8s://x", *words.split()])) == amounts


def test_a_driver_in_the_cluster_reserves_for_its_executors_and_one_outside_makes_them_a_gang() -> None:
    words = "--master k8s://x --project team-a --executors 3 --executor-gpu 1"
    inside = conf_for(parse([*words.split(), "--deploy-mode", "cluster", "job.py"]), Path("/t"))
    outside = conf_for(parse([*words.split(), "job.py"]), Path("/t"))

    driver, executor = "spark.kubernetes.driver.annotation.", "spark.kubernetes.executor.annotation."
    assert inside[f"{driver}run.ai/reserved-members"] == "4"
    assert json.loads(inside[f"{driver}run.ai/reserved-request"])["nvidia.com/gpu"] == "1"
    assert outside[f"{executor}kai.scheduler/min-member"] == "3"
    assert not [key for key in inside if key.startswith("spark.driver.resource")], "a driver has no GPU unasked"


def test_a_factor_that_is_no_number_is_named() -> None:
    words = "--master k8s://x --conf spark.executor.memoryOverheadFactor=much job.py"
    with pytest.raises(InvalidRequest, match="memoryOverheadFactor: must be a number"):
        executor_request(parse(words.split()))
