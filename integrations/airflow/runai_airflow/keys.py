"""Keys of the XComs that a task leaves, and the words of an event between trigger and operator."""

from enum import StrEnum

ID = "workload_id"
NAME = "workload_name"
STATUS = "workload_status"
URL = "workload_url"
LINK = "_link_RunaiWorkloadLink"
"""Where Airflow looks for the address of the extra link."""

RESULT = "::runai-result::"
"""A line of the log that begins so carries the task's result as JSON; it is not shown."""


class Outcome(StrEnum):
    """How waiting for a workload ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    DELETED = "deleted"
    NOT_STARTED = "not started"  # it waited in the queue for longer than its task allows
    TIMEOUT = "timeout"  # it ran for longer than its task allows
    LOST = "lost"  # nobody answers, or the token is no longer taken
