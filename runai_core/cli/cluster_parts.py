"""What a cluster has, on the command line: network topologies, storage classes and claims."""

from typing import Any

import click

from runai_core.cli.assets import scope_of
from runai_core.cli.context import app_of
from runai_core.cli.output import Column, Form, json_option, list_options, print_data, print_list
from runai_core.client.requests import API, as_it_is, get, segment, send

TOPOLOGIES, CLASSES = f"{API}/network-topologies", "/api/v2/storage-classes"
CLAIMS = f"{API}/asset/datasource/pvc"

topology = click.Group("topology", help="Network topologies: node labels that say how near nodes are.")
storage_class = click.Group("storage-class", help="Storage classes that new claims can ask for.")
pvc = click.Group("pvc", help="Claims: volumes that data sources give to workloads.")

TOPOLOGY_COLUMNS = (
    Column("Network Topology", lambda item: item["name"]),
    Column("Status", lambda item: item["phase"]),
    Column("Levels", lambda item: " > ".join(item["levels"])),
    Column("Node Pools", lambda item: ", ".join(item["nodePools"])),
    Column("Made by", lambda item: item["createdBy"] or "the cluster"),
    Column("Cluster ID", lambda item: item["clusterId"], shown=False),
    Column("ID", lambda item: item["id"], shown=False),
)
CLASS_COLUMNS = (
    Column("Storage Class", lambda item: item["storageClassName"]),
    Column("Default", lambda item: "yes" if item["spec"]["isDefault"] else ""),
    Column("Provisioner", lambda item: item["spec"]["provisioner"]),
    Column("Expands", lambda item: "yes" if item["spec"]["allowVolumeExpansion"] else ""),
)

CLAIM_COLUMNS = (
    Column("Claim", lambda item: item["spec"].get("claimName")),
    Column("Data Source", lambda item: item["meta"]["name"]),
    Column("Scope", lambda item: scope_of(item["meta"])),
    Column("Mounted at", lambda item: item["spec"].get("path")),
    Column("Size", lambda item: _new(item).get("size")),
    Column("Storage Class", lambda item: _new(item).get("storageClass")),
    Column("Access", lambda item: tuple(m for m, asked in (_new(item).get("accessModes") or {}).items() if asked)),
    Column("Read-only", lambda item: bool(item["spec"].get("readOnly")), shown=False),
    Column("ID", lambda item: item["meta"]["id"], shown=False),
)


@topology.command("list")
@list_options
@click.pass_context
def list_topologies(ctx: click.Context, /, form: Form) -> None:
    """List the network topologies and the node pools that use them."""
    found = app_of(ctx).client.transport.call(get(TOPOLOGIES, as_it_is, ()))
    print_list(found["networkTopologies"], TOPOLOGY_COLUMNS, form, empty="No network topologies.")


@topology.command("create")
@click.argument("name")
@click.option("--level", "levels", multiple=True, required=True, metavar="LABEL", help="Widest first; repeat it.")
@click.option("--cluster", metavar="ID", help="Id or name of the cluster; the only one when left out.")
@json_option
@click.pass_context
def create_topology(
    ctx: click.Context, /, name: str, levels: tuple[str, ...], cluster: str | None, *, as_json: bool
) -> None:
    """Make a network topology of node labels; `nodepool update --network-topology` uses it."""
    body = {"name": name, "levels": list(levels), **({"clusterId": cluster} if cluster else {})}
    _done(ctx, app_of(ctx).client.transport.call(send("POST", TOPOLOGIES, as_it_is, body)), "created", as_json=as_json)


@topology.command("delete")
@click.argument("name")
@json_option
@click.pass_context
def delete_topology(ctx: click.Context, /, name: str, *, as_json: bool) -> None:
    """Delete a network topology, by name or id, that no node pool uses."""
    gone = app_of(ctx).client.transport.call(send("DELETE", f"{TOPOLOGIES}/{segment(name)}", as_it_is))
    _done(ctx, gone, "deleted", as_json=as_json)


@storage_class.command("list")
@click.option("--cluster", metavar="ID", help="Id or name of the cluster; the oldest when left out.")
@list_options
@click.pass_context
def list_storage_classes(ctx: click.Context, /, cluster: str | None, form: Form) -> None:
    """List the storage classes of a cluster; on one machine there are none."""
    query = (("clusterId", cluster),) if cluster else ()
    found = app_of(ctx).client.transport.call(get(CLASSES, as_it_is, query))
    print_list(found["items"], CLASS_COLUMNS, form, empty="No storage classes are known.")


@pvc.command("list")
@list_options
@click.pass_context
def list_claims(ctx: click.Context, /, form: Form) -> None:
    """List the claims that data sources of your scopes name or make; `datasource` creates and deletes them."""
    found = app_of(ctx).client.transport.call(get(CLAIMS, as_it_is))["entries"]
    print_list(found, CLAIM_COLUMNS, form, empty="No data source has a claim.")


def _new(item: dict[str, Any]) -> dict[str, Any]:
    """Return what a claim that is made asks for; empty where one that is there is mounted."""
    return item["spec"].get("claimInfo") or {}


def _done(ctx: click.Context, item: dict[str, Any], deed: str, *, as_json: bool) -> None:
    if as_json:
        print_data(item)
    else:
        app_of(ctx).say(f"Network topology {item['name']} {deed}.")
