"""The button on a task's page that opens the workload."""

# ruff: noqa: TID253 - Airflow imports this module itself

from typing import Any

from airflow.sdk import BaseOperatorLink

from runai_airflow.keys import LINK, URL


class RunaiWorkloadLink(BaseOperatorLink):
    """Opens the workload's page; the address is pushed right after the submission, so that it shows while it waits."""

    name = "Runai workload"

    @property
    def xcom_key(self) -> str:
        """Where the address is kept."""
        return LINK

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 - Airflow passes it
        """Return the address; asked by the worker when the task ends."""
        from airflow.sdk.execution_time.xcom import XCom

        found = XCom.get_value(ti_key=ti_key, key=URL)
        return str(found or "")


def publish_page(task_instance: Any, url: str) -> None:
    """Make the link show now, and at the end of the task."""
    task_instance.xcom_push(key=URL, value=url)
    task_instance.xcom_push(key=LINK, value=url)
