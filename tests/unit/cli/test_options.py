"""The table of flags: every row reaches a field that the model has, for each command that offers it."""

from typing import Any

import click
import pytest

from runai_core import wire
from runai_core.cli.building import SECONDS, fill, parameter
from runai_core.cli.options import ALL, DISTRIBUTED, FLAGS, Flag, flags_of
from runai_core.cli.v1_options import DIST_FLAGS, TRAINING_FLAGS
from runai_core.cli.v1_options import FLAGS as V1_FLAGS
from runai_core.model.errors import InvalidRequest
from runai_core.model.meta import to_camel
from runai_core.model.spec import WorkloadSpec
from runai_core.model.workload import WorkloadType
from runai_core.service.submissions import NOT_APPLICABLE

TYPES = {
    "workspace": WorkloadType.WORKSPACE,
    "training": WorkloadType.TRAINING,
    "inference": WorkloadType.INFERENCE,
    "distributed-inference": WorkloadType.DISTRIBUTED_INFERENCE,
    **dict.fromkeys(DISTRIBUTED, WorkloadType.DISTRIBUTED),
}

ENTRIES = {
    "--image-pull-my-credentials": "type=dockerRegistry,name=hub",
    "--env-secret": "TOKEN=vault,key=token",
    "--env-pod-field-ref": "POD=metadata.name",
    "--env-my-credentials": "type=genericSecret,name=KEY,credential-name=mine,key=k",
    "--extended-resource": "example.com/fpga=2",
    "--master-extended-resource": "example.com/fpga=2",
    "--toleration": "operator=Equal,key=gpu,value=a100,effect=NoSchedule,seconds=30",
    "--existing-pvc": "claimname=data,path=/data",
    "--pvc-exists": "claimname=data,path=/data",
    "--new-pvc": "claimname=c,storageclass=fast,size=10G,path=/data,accessmode-rwo,ro,ephemeral",
    "--nfs": "path=/export,server=nas,mountpath=/data,readwrite",
    "--host-path": "path=/data,mount=/data,mount-propagation=HostToContainer",
    "--git-sync": "name=code,repository=https://example.com/x.git,path=/code,secret=s,rev=main",
    "--s3": "name=b,bucket=data,path=/data,accesskey=k,url=https://s3",
    "--configmap-map-volume": "name=cm,path=/etc/x,subpath=k,default-mode=0644",
    "--configmap-volume": "name=cm,path=/etc/x",
    "--secret-volume": "path=/etc/s,name=s",
    "--empty-dir-volume": "name=e,path=/scratch,medium=Memory,size-limit=1G",
    "--datasource": "type=nfs,name=data",
    "--datavolume": "name=images,mountpath=/images",
    "--port": "service-type=NodePort,container=8888,external=30000",
    "--external-url": "container=8888,url=https://x,authusers=a@x:b@x,authgroups=g",
    "--serving-port": "container=8000,protocol=http,authorization-type=public,cluster-local-access-only",
}
V1_ENTRIES = {"--git-sync": "source=https://x/y.git,target=/code", "--s3": "bucket=data,target=/data,secret=k"}


def sample(flag: Flag) -> Any:
    """Return a value that the flag takes, as click hands it on."""
    if flag.choices:
        return flag.choices[0]
    kind = flag.kind
    if kind == "entry":
        return (ENTRIES[next(name for name in flag.names if name in ENTRIES)],)
    values = {"flag": True, "int": 2, "gpus": 1, "float": 0.5, "seconds": 60, "named": ("A=b=c",), "list": ("x",)}
    return values.get(kind, "512M" if "memory" in flag.path else "text")


ROWS = [
    pytest.param(command, flag, id=f"{command} {flag.names[-1]}")
    for command in sorted(ALL)
    for flag in flags_of(command)
]


@pytest.mark.parametrize(("command", "flag"), ROWS)
def test_every_flag_fills_a_field_that_its_type_has(command: str, flag: Flag) -> None:
    port = {"serving_port": (ENTRIES["--serving-port"],)} if "readiness" in flag.path else {}
    draft = fill(flags_of(command), {parameter(flag): sample(flag), **port})

    spec = wire.decode(WorkloadSpec, draft.spec)
    master = wire.decode(WorkloadSpec, draft.master)

    assert draft.spec or draft.master or draft.body, "the flag did nothing"
    assert (spec, master, draft.body) != (WorkloadSpec(), WorkloadSpec(), {}) or flag.constant == ()
    foreign = {to_camel(name) for name in NOT_APPLICABLE[TYPES[command]]}
    assert not foreign & draft.spec.keys()


@pytest.mark.parametrize("flag", [*V1_FLAGS, *TRAINING_FLAGS, *DIST_FLAGS], ids=lambda flag: flag.names[-1])
def test_every_flag_of_v1_fills_a_field(flag: Flag) -> None:
    value = (V1_ENTRIES[flag.names[0]],) if flag.names[0] in V1_ENTRIES else sample(flag)

    draft = fill([flag], {parameter(flag): value})

    wire.decode(WorkloadSpec, draft.spec)
    wire.decode(WorkloadSpec, draft.master)
    assert draft.spec or draft.master or draft.body


@pytest.mark.parametrize("command", sorted(ALL))
def test_no_two_flags_of_a_command_share_a_name(command: str) -> None:
    names = [name for flag in flags_of(command) for name in flag.names]

    assert len(names) == len(set(names))
    assert len({parameter(flag) for flag in flags_of(command)}) == len(flags_of(command))


def test_every_row_is_offered_by_some_command() -> None:
    assert all(flag.on and flag.on <= ALL for flag in FLAGS)


@pytest.mark.parametrize(
    ("flag", "text", "says"),
    [
        ("--existing-pvc", "claimname=data", "path missing"),
        ("--existing-pvc", "claim=data,path=/x", "'claim' is unknown"),
        ("--existing-pvc", "", "claimname and path missing"),
        ("--serving-port", "container=http", "container must be a whole number"),
        ("--extended-resource", "fpga", "it is written NAME=QUANTITY"),
        ("--environment-variable", "=x", "it is written NAME=VALUE"),
        ("--nfs", "path=/x,server=s,readwrite=maybe", "readwrite is true or false"),
    ],
)
def test_a_value_of_a_wrong_form_names_the_flag_and_the_form(flag: str, text: str, says: str) -> None:
    row = next(row for row in FLAGS if flag in row.names)

    with pytest.raises(InvalidRequest) as caught:
        fill([row], {parameter(row): (text,)})

    assert flag == caught.value.errors[0].field
    assert says in caught.value.errors[0].message


def test_a_value_may_hold_commas_and_equal_signs() -> None:
    row = next(row for row in FLAGS if "--environment-variable" in row.names)

    draft = fill([row], {parameter(row): ("ARGS=--a=1,--b=2,key=3",)})

    assert draft.spec["environmentVariables"] == [{"name": "ARGS", "value": "--a=1,--b=2,key=3"}]


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("1d", 86400)])
def test_durations(text: str, seconds: int) -> None:
    assert SECONDS.convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "m", "-5s", "1.5h", "5 minutes", "9" * 50])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a duration"):
        SECONDS.convert(text, None, None)
