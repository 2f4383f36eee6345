"""The run context provider: every run that starts inside a workload carries its tags."""

# ruff: noqa: TID253 - MLflow imports this module itself

import os

from mlflow.tracking.context.abstract_context import RunContextProvider

from runai_mlflow.marks import tags_of


class RunaiRunContext(RunContextProvider):
    """Reads the variables that every process of a workload has."""

    def in_context(self) -> bool:
        """Return whether this process belongs to a workload."""
        return bool(tags_of(os.environ))

    def tags(self) -> dict[str, str]:
        """Return the tags."""
        return tags_of(os.environ)
