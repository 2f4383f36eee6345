"""How a task of Airflow is called on our side: names, labels, owner. Pure.

The name follows from the task instance alone, so that a worker that crashed
between the submission and the first status finds the same workload again.
"""

import hashlib
import re
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

OWNER_SCHEME = "airflow"

NAME_LENGTH = 63
"""Characters of a workload's name."""

LABEL_LENGTH = 63
"""Characters of a label's value on Kubernetes."""


@dataclass(frozen=True, slots=True)
class TaskIdentity:
    """One try of a task in a run of a DAG."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1
    try_number: int = 1

    @classmethod
    def of(cls, task_instance: Any) -> "TaskIdentity":
        """Return the identity of Airflow's task instance."""
        mapped = task_instance.map_index
        return cls(
            dag_id=task_instance.dag_id,
            run_id=task_instance.run_id,
            task_id=task_instance.task_id,
            map_index=-1 if mapped is None else mapped,
            try_number=task_instance.try_number,
        )

    @property
    def owner(self) -> str:
        """Whose the workload is; the same for all tries of the task."""
        parts = [self.dag_id, self.run_id, self.task_id, *([str(self.map_index)] if self.map_index >= 0 else [])]
        return f"{OWNER_SCHEME}:" + "/".join(quote(part, safe="") for part in parts)

    @property
    def name(self) -> str:
        """Name of the workload: readable, unique, different for each try."""
        suffix = f"-{hashlib.sha256(self.owner.encode()).hexdigest()[:8]}-{self.try_number}"
        words = _slug(f"{self.dag_id}-{self.task_id}")[: NAME_LENGTH - len(suffix)].strip("-")
        return (words or "task") + suffix

    @property
    def before(self) -> tuple["TaskIdentity", ...]:
        """The tries before this one, the latest first."""
        return tuple(replace(self, try_number=number) for number in range(self.try_number - 1, 0, -1))

    @property
    def labels(self) -> dict[str, str]:
        """Labels as Airflow puts them on its own pods; values are shortened to what Kubernetes takes."""
        return {name: label_value(value) for name, value in self.values.items()}

    @property
    def values(self) -> dict[str, str]:
        """The same, as they are: for annotations."""
        mapped = {"map_index": str(self.map_index)} if self.map_index >= 0 else {}
        return {
            "dag_id": self.dag_id,
            "run_id": self.run_id,
            "task_id": self.task_id,
            **mapped,
            "try_number": str(self.try_number),
        }


def label_value(value: str) -> str:
    """Return the value of a label on Kubernetes; one that had to change ends in a hash of what it was."""
    safe = re.sub(r"^[^a-zA-Z0-9]+|[^-_.a-zA-Z0-9]|[^a-zA-Z0-9]+$", "", value)
    if safe == value and len(value) <= LABEL_LENGTH:
        return value
    digest = hashlib.sha256(value.encode()).hexdigest()[:9]
    return f"{safe[: LABEL_LENGTH - 10]}-{digest}".lstrip("-")


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).lstrip("-0123456789")
