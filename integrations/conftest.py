"""What the tests of all plug-ins on a cluster share: one cluster. Without them nothing of it is started."""

try:
    from tests.cluster.conftest import (  # noqa: F401 - fixtures by name
        cluster,
        fake_nodes,
        kube,
        namespace,
        pytest_collection_finish,
        real_nodes,
    )
except ModuleNotFoundError as missing:  # in the environment of Kubeflow's libraries, whose tests need no cluster
    if missing.name != "grpc":
        raise
