"""Ray's door to machines: a cluster is one workload, a node is one of its pods. Needs Ray.

    provider: {type: external, module: runai_ray.NodeProvider, project: team-a}

`ray up` makes the head: then head and minimum workers are submitted as one gang.
The autoscaler, which runs on the head, finds the workers there already, and lets
further ones join and leave. Ray calls all of this from several threads.
"""

# ruff: noqa: TID253 - Ray itself loads this module

import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import click
from ray.autoscaler.command_runner import CommandRunnerInterface
from ray.autoscaler.node_launch_exception import NodeLaunchException
from ray.autoscaler.node_provider import NodeProvider as RayNodeProvider
from ray.autoscaler.tags import (
    NODE_KIND_HEAD,
    NODE_KIND_WORKER,
    STATUS_UP_TO_DATE,
    TAG_RAY_LAUNCH_CONFIG,
    TAG_RAY_LAUNCH_REQUEST,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_NAME,
    TAG_RAY_NODE_STATUS,
    TAG_RAY_USER_NODE_TYPE,
)

from runai_core.client import Client, requests
from runai_core.client.owner_process import VARIABLE, this_process
from runai_core.client.ownership import is_leaving, owner_of, sentence_of
from runai_core.client.results import Pod, Workload
from runai_core.client.sync.owned import delete_owned, submit_owned
from runai_core.model.errors import NotFound, RunaiError
from runai_core.model.workload import TERMINAL
from runai_ray import config as files
from runai_ray.launch import WORKERS_ON_DEMAND, connection_variables, python_for, wait_until_placed
from runai_ray.place import loopback
from runai_ray.runner import ExecRunner

LAUNCH_CONFIG = "run.ai/ray-launch-config"
LAUNCH_SECONDS = 60.0
"""Seconds in which workers that join must find a place; then the autoscaler is told that there is none."""

FRESH = 0.5
"""Seconds for which what was read of the workload is taken as it is."""

GONE_SECONDS = 60.0
LIVES = frozenset({"Running"})


class NodeProvider(RayNodeProvider):
    """Nodes as pods of one workload."""

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        super().__init__(provider_config, cluster_name)
        self._name = files.workload_name(str(provider_config.get("name") or cluster_name))
        self._owner = files.owner_text(cluster_name)
        self._gang: Mapping[str, Any] = provider_config.get("gang") or {}
        self._client = Client.from_env()
        self._project = str(provider_config.get("project") or self._client.project)
        self._lock = threading.RLock()
        self._uid = ""
        self._annotations: dict[str, str] = {}
        self._pods: dict[str, Pod] = {}
        self._dead: list[str] = []
        self._read_at = 0.0
        self._set_tags: dict[str, dict[str, str]] = {}
        self._asked: list[list[Any]] = []  # launch requests whose pods are still to come: [request, how many]
        self._known: set[str] = set()

    # -- the whole file

    @staticmethod
    def fillout_available_node_types_resources(cluster_config: dict[str, Any]) -> dict[str, Any]:
        """Fill in what Ray demands of external providers' files."""
        try:
            return files.with_defaults(cluster_config)
        except RunaiError as error:
            raise click.ClickException(error.message) from None

    @staticmethod
    def bootstrap_config(cluster_config: dict[str, Any]) -> dict[str, Any]:
        """Tell the provider what it must know of the whole cluster."""
        try:
            filled = files.with_defaults(cluster_config)
        except RunaiError as error:
            raise click.ClickException(error.message) from None
        filled["provider"] = {**filled["provider"], "gang": files.gang_in(filled)}
        return filled

    # -- reading

    def non_terminated_nodes(self, tag_filters: Mapping[str, str]) -> list[str]:
        """Return the nodes that have a place and these tags."""
        with self._lock:
            self._read()
            return [name for name in self._pods if tag_filters.items() <= self.node_tags(name).items()]

    def nodes_for_teardown(self, tag_filters: Mapping[str, str]) -> list[str]:
        """Return all that `ray down` must end."""
        return self.non_terminated_nodes(tag_filters)

    def is_running(self, node_id: str) -> bool:
        """Return whether the node's process runs."""
        with self._lock:
            self._read()
            return node_id in self._pods

    def is_terminated(self, node_id: str) -> bool:
        """Return whether the node is gone."""
        return not self.is_running(node_id)

    def node_tags(self, node_id: str) -> dict[str, str]:
        """Return the node's tags: what its pod says of it, and what was set by this process."""
        with self._lock:
            pod = self._pods.get(node_id)
            head = pod is not None and _rank(pod) == 0
            kind = "head" if head else "worker"
            tags = {
                TAG_RAY_NODE_KIND: NODE_KIND_HEAD if head else NODE_KIND_WORKER,
                TAG_RAY_USER_NODE_TYPE: str(self._gang.get(f"{kind}_type", "")),
                TAG_RAY_NODE_NAME: f"ray-{self.cluster_name}-{kind}",
                TAG_RAY_NODE_STATUS: STATUS_UP_TO_DATE,
            }
            if head:
                tags[TAG_RAY_LAUNCH_CONFIG] = self._annotations.get(LAUNCH_CONFIG, "")
            return tags | self._set_tags.get(node_id, {})

    def set_node_tags(self, node_id: str, tags: Mapping[str, str]) -> None:
        """Keep tags as long as this process lives; what lasts is read from the workload."""
        with self._lock:
            self._set_tags.setdefault(node_id, {}).update(tags)

    def internal_ip(self, node_id: str) -> str:
        """Return the node's address: the pod's, or on one machine the one that its keeper takes."""
        with self._lock:
            self._read()
            pod = self._pods[node_id]
            return pod.ip or loopback(self._uid, int(pod.raw.get("attempt") or 1), _rank(pod))

    external_ip = internal_ip

    def get_command_runner(self, _log_prefix: str, node_id: str, *_: Any, **__: Any) -> CommandRunnerInterface:
        """Return what runs commands beside the node's process."""
        with self._lock:
            self._read()
            return ExecRunner(self._client, self._uid, node_id, python_for(self._gang.get("head") or {}))

    # -- changing

    def create_node(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> dict[str, Any] | None:
        """Submit the cluster: its head and its first workers, as one gang; or let workers join."""
        if tags.get(TAG_RAY_NODE_KIND) != NODE_KIND_HEAD:
            return self.create_node_with_resources_and_labels(node_config, tags, count, {}, {})
        try:
            workload = self._submit(tags)
            wait_until_placed(self._client, workload, click.echo)
        except RunaiError as error:
            raise click.ClickException(error.message) from None
        with self._lock:
            self._read_at = 0.0
            self._read()
            for head in [name for name, pod in self._pods.items() if _rank(pod) == 0]:
                self.set_node_tags(head, tags)
        return None

    def create_node_with_resources_and_labels(
        self,
        _node_config: dict[str, Any],
        tags: dict[str, str],
        count: int,
        _resources: dict[str, float],
        _labels: dict[str, str],
    ) -> dict[str, Any] | None:
        """Let workers join; those that find no place in time are taken back, and Ray is told why."""
        request = tags.get(TAG_RAY_LAUNCH_REQUEST, "")
        try:
            with self._lock:
                self._read()
                self._known.update(self._pods)
                # A worker that has failed is not replaced by itself; its place goes to one of these.
                change = requests.scale(self._workload(), add=count, remove=self._dead)
                workload = self._client.transport.call(change)
                self._asked.append([request, count])
            self._await_places(workload, request, count)
        except RunaiError as error:
            self._forget(request)
            raise NodeLaunchException(type(error).__name__[:20], error.message, None) from error
        return None

    def terminate_node(self, node_id: str) -> dict[str, Any] | None:
        """End a node; with the head, all."""
        return self.terminate_nodes([node_id])

    def terminate_nodes(self, node_ids: Sequence[str]) -> dict[str, Any] | None:
        """End nodes. One of the first workers is replaced: the gang needs them."""
        with self._lock:
            self._read()
            known = [self._pods[name] for name in node_ids if name in self._pods]
            if any(_rank(pod) == 0 for pod in known):
                self._delete()
            elif known:
                stay = sum(_rank(pod) != 0 for pod in self._pods.values()) - len(known)
                missing = max(sum((self._gang.get("min_workers") or {}).values()) - stay, 0)
                names = [pod.name for pod in known]
                self._client.transport.call(requests.scale(self._workload(), add=missing, remove=names))
            self._read_at = 0.0
        return None

    def end_cluster(self) -> bool:
        """Delete the cluster's workload, whatever its state; return whether there was one."""
        with self._lock:
            try:
                found = self._client.get(self._workload().id)
            except NotFound:
                return False
            if owner_of(found) != self._owner:
                raise NotFound(f"{found.project_name}/{found.name} is not the cluster {self.cluster_name}")
            self._uid = found.id
            self._delete()
            return True

    def on_head(self, command: str) -> str:
        """Return what a command says on the head.

        Raises:
            NotFound: the cluster does not run.
        """
        heads = self.non_terminated_nodes({TAG_RAY_NODE_KIND: NODE_KIND_HEAD})
        if not heads:
            raise NotFound(f"the cluster {self.cluster_name} does not run: start it with `runai ray up`")
        said: str = self.get_command_runner("", heads[0]).run(command, exit_on_fail=True, with_output=True)
        return said

    def why_no_place(self, count: int) -> str:
        """Return the scheduler's sentence on so many further workers."""
        words = {files.NODE_KEYS[key]: value for key, value in (self._gang.get("worker") or {}).items()}
        options = {**words, "command": "true", "parallelism": count, "runs": count, "project": self._project}
        try:
            preview = self._client.preview("Training", f"{self._name}-more", options)
        except RunaiError as error:
            return error.message
        return str((preview.raw.get("verdict") or {}).get("message") or "the cluster is full")

    # -- the workload

    def _submit(self, tags: Mapping[str, str]) -> Workload:
        gang = self._gang
        minimum = sum(gang["min_workers"].values())
        environment = {
            **connection_variables(os.environ),
            VARIABLE: this_process(),
            "RAY_NODE_TYPE_NAME": gang["worker_type"],
            "RAY_OVERRIDE_RESOURCES": json.dumps(gang["resources"]),
        }
        notes = {WORKERS_ON_DEMAND: str(minimum), LAUNCH_CONFIG: tags.get(TAG_RAY_LAUNCH_CONFIG, "")}
        options = files.workload_options(gang, self.provider_config, environment, notes)
        options["command"] = [python_for(gang["head"]), "-m", "runai_ray.node"]
        self._remove_ended()
        click.echo(f"Submitting {self._name}: a head and {minimum} workers, as one gang")
        return submit_owned(self._client, "Distributed", self._name, options, owner=self._owner)

    def _remove_ended(self) -> None:
        """Delete what is left of a cluster of ours that has ended, so that its name is free."""
        try:
            found = self._client.get(self._client.get(self._name, project=self._project).id)
        except NotFound:
            return
        if found.phase in TERMINAL and owner_of(found) == self._owner:
            delete_owned(self._client, found.id)

    def _workload(self) -> Workload:
        """Return our workload as it is now.

        Raises:
            NotFound: there is none, or it was deleted.
        """
        found = self._client.get(self._uid) if self._uid else self._client.get(self._name, project=self._project)
        if is_leaving(found):
            raise NotFound(f"{sentence_of(found)}: somebody deleted it; run `ray up` again")
        return found

    def _read(self) -> None:
        """Look at the workload, unless that was a moment ago."""
        if time.monotonic() - self._read_at < FRESH:
            return
        try:
            found = self._workload()
            if not self._uid or found.id != self._uid:
                found = self._client.get(found.id)
            ours = owner_of(found) == self._owner and found.phase not in TERMINAL
            pods = self._client.pods(found) if ours else ()
        except NotFound:
            self._uid, self._pods = "", {}
            return
        notes = (found.raw.get("spec") or {}).get("annotations") or ()
        self._annotations = {str(item.get("name")): str(item.get("value")) for item in notes}
        self._uid = found.id
        newest = max((int(pod.raw.get("attempt") or 1) for pod in pods), default=1)
        placed = [pod for pod in pods if pod.k8s_phase in LIVES and int(pod.raw.get("attempt") or 1) == newest]
        self._pods = {pod.name: pod for pod in sorted(placed, key=_rank)}
        self._dead = [pod.name for pod in pods if pod.k8s_phase == "Failed" and _rank(pod)]
        self._match()
        self._read_at = time.monotonic()

    def _match(self) -> None:
        """Give nodes that are new to the requests that wait for some."""
        for name in self._pods:
            if name in self._known or not self._asked:
                continue
            self._known.add(name)
            waiting = self._asked[0]
            self._set_tags.setdefault(name, {})[TAG_RAY_LAUNCH_REQUEST] = waiting[0]
            waiting[1] -= 1
            if not waiting[1]:
                self._asked.pop(0)

    def _await_places(self, workload: Workload, request: str, count: int) -> None:
        deadline = time.monotonic() + float(self.provider_config.get("launch_seconds", LAUNCH_SECONDS))
        while time.monotonic() < deadline:
            with self._lock:
                self._read()
                waiting = sum(number for asked, number in self._asked if asked == request)
                if not waiting:
                    return
                if not self._uid:
                    raise NotFound(f"{self._project}/{self._name} was deleted while workers joined")
            time.sleep(FRESH)
        with self._lock:
            names = [pod.name for pod in self._client.pods(workload) if pod.k8s_phase == "Pending"]
            self._client.transport.call(requests.scale(self._workload(), remove=names))
            self._forget(request)
        reason = self.why_no_place(count)
        raise NodeLaunchException("NoPlace", f"{waiting} of {count} workers found no place: {reason}", None)

    def _forget(self, request: str) -> None:
        with self._lock:
            self._asked = [waiting for waiting in self._asked if waiting[0] != request]

    def _delete(self) -> None:
        """Delete the workload and wait until nothing of it runs."""
        uid = self._uid
        if not delete_owned(self._client, uid):
            return
        deadline = time.monotonic() + GONE_SECONDS
        while time.monotonic() < deadline and self._has_pods(uid):
            time.sleep(FRESH)

    def _has_pods(self, uid: str) -> bool:
        try:
            return bool(self._client.pods(uid))
        except NotFound:
            return False


def _rank(pod: Pod) -> int:
    return int(pod.raw.get("rank") or 0)
