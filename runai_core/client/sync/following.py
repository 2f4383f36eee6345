"""Generated from runai_core/client/following.py by tests/unit/client/test_sync_twin.py: change that file instead.

Asks again and again instead of holding connections open: a follower that is
started anew goes on where its cursors say, and an orchestrator that is started
anew is waited for.
"""

# ruff: noqa: C416, RUF100, UP028

import time
from collections.abc import Collection, Iterator

from runai_core.client.news import Cursors, News, NewsKind
from runai_core.client.ownership import is_leaving, sentence_of
from runai_core.client.results import Pod, Workload
from runai_core.client.sync.client import Client
from runai_core.model.errors import Conflict, NotFound, Unavailable
from runai_core.model.workload import Phase

PERIOD = 2.0
"""Seconds between two looks, at most; the first ones are quicker."""

FIRST_PERIOD = 0.1

PATIENCE = 600.0
"""Seconds without an answer after which an orchestrator is given up."""

LOGGED_PODS = 8
"""Pods of a gang whose logs are told; the first ranks."""

HAS_LOGS = frozenset({"Running", "Succeeded", "Failed"})


def follow(
    client: Client,
    uid: str,
    *,
    cursors: Cursors | None = None,
    period: float = PERIOD,
    patience: float = PATIENCE,
    ranks: Collection[int] = (),
) -> Iterator[News]:
    """Yield the news of a workload until it has ended or was deleted; with cursors, also its logs.

    `ranks` are the pods whose logs are told; the first `LOGGED_PODS` when left out.

    Raises:
        NotFound: there is no such workload (any more). Unauthenticated, Forbidden: the token has expired or lacks
            the right. Unavailable: nobody answered for `patience` seconds.
    """
    told, pause, silent_since = ("", ""), FIRST_PERIOD, 0.0
    while True:
        try:
            found = client.get(uid)
            if cursors is not None:
                for line in _new_lines(client, found, cursors, ranks):
                    yield line
            silent_since = 0.0
        except Unavailable as error:
            now = time.monotonic()
            if silent_since and now - silent_since >= patience:
                raise
            if not silent_since:
                silent_since = now
                known = Workload(id=uid)
                yield News(kind=NewsKind.SILENT, text=f"{error.message}; trying again", workload=known)
        else:
            if found.is_over or is_leaving(found):
                yield News(kind=NewsKind.END, text=sentence_of(found), workload=found)
                return
            if (found.phase, found.phase_message) != told:
                kind = NewsKind.WAITS if found.phase == told[0] else NewsKind.PHASE
                told = (found.phase, found.phase_message)
                yield News(kind=kind, text=sentence_of(found), workload=found)
        client.transport.sleep(min(pause, period))
        pause *= 1.5


def _new_lines(client: Client, workload: Workload, cursors: Cursors, ranks: Collection[int]) -> Iterator[News]:
    if is_leaving(workload) or workload.phase in (Phase.CREATING, Phase.PENDING):
        return
    pods = sorted((pod for pod in client.pods(workload) if pod.k8s_phase in HAS_LOGS), key=_rank)
    for pod in [pod for pod in pods if _rank(pod)[0] in ranks] if ranks else pods[:LOGGED_PODS]:
        try:
            since = cursors.since(pod.name)
            text = client.log_text(workload, pod=pod.name, timestamps=True, sinceTime=since)
        except (NotFound, Conflict):
            continue  # the pod went while we asked
        for line in cursors.take(pod.name, text):
            yield News(kind=NewsKind.LOG, text=line, workload=workload, pod=pod.name)


def _rank(pod: Pod) -> tuple[int, str]:
    return int(pod.raw.get("rank") or 0), pod.name
