"""What the API answers about clusters."""

from typing import Annotated, Any

from pydantic import Field

from runai_core.web.answers.base import OURS, Answer


class ClusterItem(Answer):
    """A cluster, and the state of its link."""

    uuid: str
    name: str
    tenant_id: int
    domain: str | None = None
    version: str | None = None
    created_at: str
    updated_at: str
    last_liveness: str | None = None
    status: dict[str, Any]


class InstallInfo(Answer):
    """How to connect a cluster; the token is shown this once and good for one join."""

    installation_str: Annotated[str, Field(description="The command to run beside the cluster.")]
    repository_name: str | None = None
    chart_repo_url: str | None = Field(default=None, alias="chartRepoURL")
    join_token: Annotated[str, Field(description=f"For the file that the command names. {OURS}")]
    expires_at: Annotated[str, Field(description=f"When the token ends. {OURS}")]


class JoinAnswer(Answer):
    """The id of the cluster that has joined."""

    cluster_id: str
