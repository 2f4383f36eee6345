"""Which process of this machine listens on a port: a pod's own, or somebody else's."""

import psutil

POD_VARIABLE = "POD_UUID"
"""Variable in the environment of a pod's processes that holds the pod's uid."""

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  compared with, not bound to
"""Address that means all -> the one at which it is reached."""


def listener_of(pod_uid: str, port: int) -> str:
    """Return the host at which a process of the pod listens; empty where none does.

    Pods share this machine's ports: whoever asks for a pod's port must not be
    led to the program of another, or to the orchestrator itself.
    """
    for process in psutil.process_iter():
        try:
            if process.environ().get(POD_VARIABLE) != pod_uid:
                continue
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                    return EVERYWHERE.get(connection.laddr.ip, str(connection.laddr.ip))
        except (psutil.Error, OSError):
            continue  # it ended, or belongs to somebody else
    return ""
