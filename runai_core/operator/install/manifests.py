"""Everything that is installed, as one list in the order in which it can be applied."""

from collections.abc import Sequence
from typing import Any

import yaml

from runai_core.backends.kubernetes.names import RESERVATION_NAMESPACE, SYSTEM_NAMESPACE
from runai_core.model.workload import PRIORITIES
from runai_core.operator.install.crds import crds
from runai_core.operator.install.deployments import (
    accounts,
    deployments,
    network_policies,
    reservation_template,
    services,
)
from runai_core.operator.install.names import labels_of
from runai_core.operator.install.options import Options
from runai_core.operator.install.rbac import roles
from runai_core.operator.install.records import link, records
from runai_core.operator.install.webhooks import configurations
from runai_core.plugins.types import WorkloadKind

Manifest = dict[str, Any]


def manifests(options: Options, kinds: Sequence[WorkloadKind]) -> list[Manifest]:
    """Return all objects of an installation; the same options and kinds give the same list."""
    found = [*namespaces(options), *crds(), *priority_classes(), *accounts(options), *roles(kinds, options.namespace)]
    if options.webhooks:
        found += configurations(options)
    if options.workloads:
        found += [*services(options), *network_policies(options), reservation_template(options)]
        found += [*records(options), *link(options), *deployments(options)]
    return found


def namespaces(options: Options) -> list[Manifest]:
    """Return our own namespaces; policies for all projects and leases are in ``runai``, wherever our processes are."""
    names = dict.fromkeys((options.namespace, SYSTEM_NAMESPACE, RESERVATION_NAMESPACE))
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels_of("system")}}
        for name in names
    ]


def priority_classes() -> list[Manifest]:
    """Return the priority classes of workloads, the highest first."""
    return [
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name, "labels": labels_of("scheduler")},
            "value": value,
            "description": "Priority of AI workloads; from 100 on they are not preemptible unless they say so.",
        }
        for name, value in sorted(PRIORITIES.items(), key=lambda item: (-item[1], item[0]))
    ]


def to_yaml(objects: Sequence[Manifest]) -> str:
    """Return the objects as one YAML stream; schemas are written more tightly than what people read."""
    return "".join(
        "---\n"
        + yaml.dump(
            item,
            Dumper=_Dumper,
            sort_keys=False,
            width=120,
            default_flow_style=None if item["kind"] == "CustomResourceDefinition" else False,
        )
        for item in objects
    )


class _Dumper(yaml.SafeDumper):
    """Writes what is there twice twice, without references."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True
