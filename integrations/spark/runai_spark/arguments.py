"""The words of `spark-submit`, with ours among them; pure.

What is ours is taken out and the rest is handed on as it came. Names are those
of `spark-submit --help` (Spark 4); Spark's own file takes `spark-submit
[options] <app> [app arguments]`, so that the first word that is neither an option nor its
value is the application.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runai_core.model.errors import FieldError, InvalidRequest

OURS: Mapping[str, str] = {
    "--project": "project",
    "--executors": "executors",
    "--executor-gpu": "executor_gpu",
    "--priority": "priority",
    "--workload-name": "workload_name",
    "--image": "image",
    "--time-to-live": "time_to_live",
}
"""Options of ours that take a value."""

FLAGS: Mapping[str, str] = {"--no-wait": "no_wait"}

READ: Mapping[str, str] = {
    "--master": "master",
    "--deploy-mode": "deploy_mode",
    "--name": "name",
    "--num-executors": "executors",
    "--executor-cores": "executor_cores",
    "--executor-memory": "executor_memory",
    "--driver-memory": "driver_memory",
    "--driver-cores": "driver_cores",
    "--total-executor-cores": "total_executor_cores",
}
"""Options of Spark's that say something to us as well."""

OTHERS = frozenset(
    {
        "--archives",
        "--class",
        "--conf",
        "-c",
        "--driver-class-path",
        "--driver-java-options",
        "--driver-library-path",
        "--exclude-packages",
        "--files",
        "--jars",
        "--keytab",
        "--kill",
        "--packages",
        "--principal",
        "--properties-file",
        "--proxy-user",
        "--py-files",
        "--queue",
        "--remote",
        "--repositories",
        "--status",
    }
)
"""Options of Spark's that take a value."""

SWITCHES = frozenset({"--supervise", "--verbose", "-v", "--load-spark-defaults"})

CONF: Mapping[str, str] = {
    "spark.executor.instances": "executors",
    "spark.executor.cores": "executor_cores",
    "spark.executor.memory": "executor_memory",
    "spark.driver.memory": "driver_memory",
    "spark.driver.cores": "driver_cores",
    "spark.executor.resource.gpu.amount": "executor_gpu",
    "spark.app.name": "name",
    "spark.master": "master",
    "spark.runai.project": "project",
}
"""Settings that say the same as an option; the option wins."""

_MEMORY = re.compile(r"^(\d+)\s*([kmgt]?)b?$", re.IGNORECASE)
_UNITS = {"": 20, "k": 10, "m": 20, "g": 30, "t": 40}
MIN_OVERHEAD = 384 * 1024**2
"""Bytes besides the heap that Spark reckons with, or a tenth of it (spark.executor.memoryOverhead)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """What is to be submitted."""

    master: str = "runai"
    deploy_mode: str = "client"
    project: str = ""
    name: str = ""
    executors: int = 2
    executor_cores: int = 1
    executor_memory: str = "1g"
    executor_gpu: int = 0
    driver_memory: str = "1g"
    driver_cores: int = 1
    priority: str = ""
    workload_name: str = ""
    image: str = ""
    time_to_live: int = 0
    no_wait: bool = False
    asks_only: bool = False  # --kill or --status: nothing is submitted
    options: tuple[str, ...] = ()  # for Spark, without master, deploy mode and sizes
    words: tuple[str, ...] = field(default=())  # the application and its arguments


def parse(words: Sequence[str]) -> Application:
    """Return what the words of a submission say.

    Raises:
        InvalidRequest: an option is unknown, lacks its value, or has one that cannot be.
    """
    given: dict[str, str] = {}
    conf: dict[str, str] = {}
    options: list[str] = []
    asks_only, rest = False, list(words)
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        if word == "--":
            continue
        name, joined, value = word.partition("=")
        if name in SWITCHES or name in FLAGS:
            options += [name] if name in SWITCHES else []
            given |= {FLAGS[name]: "yes"} if name in FLAGS else {}
            continue
        if name not in OURS and name not in READ and name not in OTHERS:
            raise InvalidRequest.of(FieldError(name, _advice(name)))
        if not joined and not rest:
            raise InvalidRequest.of(FieldError(name, "needs a value"))
        value = value if joined else rest.pop(0)
        asks_only = asks_only or name in ("--kill", "--status")
        if name in OURS or name in READ:
            given[{**OURS, **READ}[name]] = value
        else:
            options += [name, value]
            conf |= _setting(value) if name in ("--conf", "-c") else {}
    said = {CONF[key]: value for key, value in conf.items() if key in CONF} | given
    if not rest and not asks_only:
        raise InvalidRequest.of(
            FieldError("application", "is missing: give a .py or .jar file, and its arguments after it")
        )
    return _application(said, tuple(options), tuple(rest), asks_only=asks_only)


def request_of(memory: str, option: str) -> str:
    """Return what a process with this heap asks for, in the form of Kubernetes: the heap and Spark's overhead.

    Raises:
        InvalidRequest: it is not an amount of memory as Spark writes it.
    """
    heap = bytes_of(memory, option)
    return f"{(heap + max(heap // 10, MIN_OVERHEAD)) >> 20}Mi"


def bytes_of(memory: str, option: str) -> int:
    """Return an amount of memory as Spark writes it (a number alone is MiB).

    Raises:
        InvalidRequest: it is none.
    """
    found = _MEMORY.match(memory)
    if found is None:
        raise InvalidRequest.of(FieldError(option, "must be an amount such as 512m or 4g", memory))
    return int(found[1]) << _UNITS[found[2].lower()]


def setting_of(application: "Application", key: str, default: str = "") -> str:
    """Return what the user says a setting of Spark's is; the last word counts."""
    pairs = zip(application.options, application.options[1:], strict=False)
    said = [value.partition("=") for name, value in pairs if name in ("--conf", "-c")]
    return next((value for found, _, value in reversed(said) if found.strip() == key), default)


def _application(
    said: Mapping[str, str], options: tuple[str, ...], words: tuple[str, ...], *, asks_only: bool
) -> Application:
    numbers = ("executors", "executor_cores", "executor_gpu", "driver_cores", "time_to_live")
    texts = (
        "master",
        "deploy_mode",
        "project",
        "name",
        "executor_memory",
        "driver_memory",
        "priority",
        "workload_name",
        "image",
    )
    values: dict[str, Any] = {name: said[name] for name in texts if name in said}
    values |= {name: _number(name, said[name]) for name in numbers if name in said}
    for option in ("executor_memory", "driver_memory"):
        request_of(str(values.get(option, "1g")), f"--{option.replace('_', '-')}")
    return Application(**values, no_wait="no_wait" in said, asks_only=asks_only, options=options, words=words)


def _number(name: str, text: str) -> int:
    least = 0 if name in ("executor_gpu", "time_to_live") else 1
    if not text.isdigit() or int(text) < least:
        option = f"--{name.replace('_', '-')}"
        raise InvalidRequest.of(FieldError(option, f"must be a whole number, at least {least}", text))
    return int(text)


def _setting(text: str) -> dict[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise InvalidRequest.of(FieldError("--conf", "must be key=value", text))
    return {key.strip(): value}


def _advice(name: str) -> str:
    known = sorted({*OURS, *READ, *OTHERS, *FLAGS, *SWITCHES})
    near = difflib.get_close_matches(name, known, n=1)
    return f"there is no such option: did you mean {near[0]}?" if near else "there is no such option: see --help"
