"""How Airflow reaches an orchestrator: the connection type `runai`.

| field | meaning |
| --- | --- |
| host | address, ``https://runai.example.org``, or its host alone with port and schema |
| login | client id of a service account; empty: the password is a token |
| password | the token, or the service account's secret |
| extra | ``{"project": "team-a"}``: where workloads go when a task names no project |

Without a connection of the default name, the orchestrator is found as the
command line finds it: `RUNAI_URL`, or the one that `runai up` started.
"""

# ruff: noqa: TID253 - Airflow imports this module itself

import os
from typing import Any

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from runai_airflow import __version__
from runai_core.client import AsyncClient, Client
from runai_core.client.environment import Connection, find_connection
from runai_core.model.errors import FieldError, InvalidRequest, RunaiError

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class RunaiHook(BaseHook):
    """Clients of the orchestrator that a connection names."""

    conn_name_attr = "runai_conn_id"
    default_conn_name = "runai_default"
    conn_type = "runai"
    hook_name = "Run:ai core"

    def __init__(self, runai_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.runai_conn_id = runai_conn_id

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return what the form of the connection looks like."""
        return {
            "hidden_fields": [],
            "relabeling": {
                "host": "URL",
                "schema": "Scheme (http or https)",
                "login": "Client id (empty: the password is a token)",
                "password": "Token, or secret of the client",
            },
            "placeholders": {"host": "https://runai.example.org", "extra": '{"project": "team-a"}'},
        }

    def connection(self) -> Connection:
        """Return where the orchestrator is and who asks.

        Raises:
            InvalidRequest: the connection's fields contradict what they must be; names them.
            Unavailable: there is no connection of the default name, and no orchestrator of this user.
            AirflowNotFoundException: there is no connection of this name.
        """
        try:
            return connection_of(self.get_connection(self.runai_conn_id))
        except AirflowNotFoundException:
            return self._found_elsewhere()

    async def aconnection(self) -> Connection:
        """Do the same where answers are awaited."""
        try:
            return connection_of(await self.aget_connection(self.runai_conn_id))
        except AirflowNotFoundException:
            return self._found_elsewhere()

    def _found_elsewhere(self) -> Connection:
        if self.runai_conn_id == self.default_conn_name:
            return find_connection(os.environ)
        raise AirflowNotFoundException(
            f"there is no connection {self.runai_conn_id}: add one of type runai, for example with "
            f"`airflow connections add {self.runai_conn_id} --conn-type runai --conn-host https://runai.example.org`"
        )

    def get_conn(self) -> Client:
        """Return a client; close it, or use it in a `with` block."""
        return Client.connect_to(self.connection())

    async def get_async_conn(self) -> AsyncClient:
        """Return a client whose methods are awaited."""
        return AsyncClient.connect_to(await self.aconnection())

    def test_connection(self) -> tuple[bool, str]:
        """Return whether the orchestrator answers and takes the token, and a sentence about it."""
        try:
            with self.get_conn() as client:
                status = client.status()
                client.list(limit=1)
                where = client.transport.connection
        except (RunaiError, AirflowNotFoundException) as error:
            return False, str(error)
        return True, (
            f"runai-core {status.get('version')} answers at {where.url}: {status.get('nodes')} nodes, "
            f"backend {status.get('backend')}; workloads go to project {where.project}"
        )


def connection_of(given: Any) -> Connection:
    """Return the orchestrator that a connection of Airflow names.

    Raises:
        InvalidRequest: it has no address, another type, or an unknown key in its extra.
    """
    if given.conn_type != RunaiHook.conn_type:
        message = f"must be {RunaiHook.conn_type}: edit the connection {given.conn_id}, or name another one"
        raise InvalidRequest.of(FieldError("conn_type", message, given.conn_type))
    extra = dict(given.extra_dejson)
    project = str(extra.pop("project", "") or "")
    if unknown := sorted(set(extra)):
        message = f"in the extra of the connection {given.conn_id} is unknown: only project may be there"
        raise InvalidRequest.of(FieldError(f"extra.{unknown[0]}", message))
    secret, more = given.password or "", {"project": project} if project else {}
    by_client = bool(given.login)
    return Connection(
        url=_url(given),
        token="" if by_client else secret,
        client_id=given.login if by_client else "",
        client_secret=secret if by_client else "",
        agent=f"runai-airflow/{__version__}",
        unreachable=f"nobody answers at {_url(given)} (connection {given.conn_id})",
        **more,
    )


def _url(given: Any) -> str:
    host = (given.host or "").strip().rstrip("/")
    if not host:
        message = f"is missing in the connection {given.conn_id}: give the orchestrator's address"
        raise InvalidRequest.of(FieldError("host", message))
    scheme, separator, rest = host.partition("://")
    if not separator:
        scheme, rest = given.schema or ("http" if host in LOOPBACK else "https"), host
    if scheme not in ("http", "https"):
        message = f"of the connection {given.conn_id} must begin with http:// or https://"
        raise InvalidRequest.of(FieldError("host", message, host))
    port = f":{given.port}" if given.port and ":" not in rest.rpartition("]")[2] else ""
    return f"{scheme}://{rest}{port}"


def is_loopback(url: str) -> bool:
    """Return whether the orchestrator is on this machine, so that its processes find our Python."""
    host = url.partition("://")[2].partition("/")[0].rpartition(":")[0] or url.partition("://")[2]
    return host.strip("[]") in LOOPBACK
