"""The forms of New Workload: which there are, what each is for, and to whom they are offered."""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request

from runai_core.model.organization import Action
from runai_core.model.roles import resource_of
from runai_core.model.workload import POLICY_TYPES, PolicyType, Workload, WorkloadType
from runai_core.web.pages.rights import may_somewhere
from runai_core.web.routes.typed import PATHS, TypedPaths

_TYPED = {row.kind: row for row in PATHS}


@dataclass(frozen=True, slots=True, kw_only=True)
class FormKind:
    """One form: its part of the path, and what a newcomer should know."""

    path: str
    title: str
    text: str
    kind: WorkloadType
    leads: str = ""  # of gangs with a pod that leads: title of the section for where it differs

    @property
    def label(self) -> str:
        """The title as a menu has it."""
        return self.title[:1].upper() + self.title[1:]

    @property
    def resource(self) -> str:
        """The resource type of the right to submit it."""
        return resource_of(self.kind)

    @property
    def paths(self) -> TypedPaths:
        """The API's paths of a native type."""
        return _TYPED[self.kind]

    @property
    def policy(self) -> PolicyType:
        """Which policies judge a native type."""
        return POLICY_TYPES[self.kind]


_FORMS = (
    FormKind(
        path="workspace",
        title="workspace",
        text="A place to work in: a notebook or an editor that stays until you stop it.",
        kind=WorkloadType.WORKSPACE,
    ),
    FormKind(
        path="training",
        title="training",
        text="A program that runs to its end. It may use what others leave free, and waits when they want it back.",
        kind=WorkloadType.TRAINING,
    ),
    FormKind(
        path="distributed",
        title="distributed training",
        text="A program on several pods that start together or not at all.",
        kind=WorkloadType.DISTRIBUTED,
        leads="Where the master differs",
    ),
    FormKind(
        path="inference",
        title="inference",
        text="A model that answers requests, with as many replicas as they need.",
        kind=WorkloadType.INFERENCE,
    ),
    FormKind(
        path="distributed-inference",
        title="distributed inference",
        text="A model too large for one pod: each replica is a leader with its workers.",
        kind=WorkloadType.DISTRIBUTED_INFERENCE,
        leads="Where the leader differs",
    ),
)

NATIVE: Mapping[str, FormKind] = {form.path: form for form in _FORMS}
"""The forms of native types, by their part of the path."""

FRAMEWORK = FormKind(
    path="framework",
    title="object of a framework (YAML)",
    text="A RayJob, PyTorchJob, SparkApplication or another object that you have as YAML.",
    kind=WorkloadType.EXTERNAL,
)

FORM_OF: Mapping[WorkloadType, str] = {form.kind: form.path for form in _FORMS}
"""Native type -> part of the path of its form."""


def form_of(workload: Workload) -> str:
    """Return the form that makes such a workload: what was an object of a framework is made of one again."""
    return FRAMEWORK.path if workload.manifest is not None else FORM_OF.get(workload.type, "")


def offered(request: Request) -> list[FormKind]:
    """Return the forms that who looks may submit somewhere."""
    return [form for form in (*_FORMS, FRAMEWORK) if may_somewhere(request, Action.CREATE, form.resource)]
