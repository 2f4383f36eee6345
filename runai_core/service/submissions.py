"""Submissions: what a user sends becomes a workload, completed and judged.

Everything that can be wrong is found here, before anything is kept.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from secrets import token_hex
from typing import Any

from runai_core import wire
from runai_core.lifecycle.gang import RunContext, gang_of
from runai_core.lifecycle.secrets import private_secrets, with_private_names
from runai_core.model.decision import Verdict
from runai_core.model.errors import FieldError, InvalidRequest, NotFound
from runai_core.model.meta import Meta, to_camel
from runai_core.model.nodes import DEFAULT_NODE_POOL, NodePool
from runai_core.model.organization import Actor, Department, Project
from runai_core.model.snapshot import Preemptibility
from runai_core.model.spec import (
    DISTRIBUTED_INFERENCE_ONLY,
    DISTRIBUTED_ONLY,
    INFERENCE_ONLY,
    NOT_INFERENCE,
    TRAINING_ONLY,
    WorkloadSpec,
)
from runai_core.model.workload import (
    NON_PREEMPTIBLE_FROM,
    POLICY_TYPES,
    PRIORITIES,
    TYPE_DEFAULTS,
    Workload,
    WorkloadType,
)
from runai_core.policy.scheduling_rules import EffectiveRules, check_node_type, effective_rules, limits_of
from runai_core.policy.tree import get_at
from runai_core.ports import Backend, Query, Secrets
from runai_core.service.changing import revision_of
from runai_core.service.composing import Composer
from runai_core.service.policies import PolicyService
from runai_core.service.spec_checks import check_forms
from runai_core.service.storage import Claims
from runai_core.service.submission import Submission

__all__ = ["Preview", "Submission", "Submissions"]

MAX_NAME = 63
NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
NAME_RULE = (
    f"must be 1 to {MAX_NAME} characters, lower-case letters, digits and '-', beginning with a letter "
    "and ending with a letter or digit"
)

NOT_APPLICABLE: Mapping[WorkloadType, frozenset[str]] = {
    WorkloadType.WORKSPACE: TRAINING_ONLY | DISTRIBUTED_ONLY | INFERENCE_ONLY | DISTRIBUTED_INFERENCE_ONLY,
    WorkloadType.TRAINING: DISTRIBUTED_ONLY | INFERENCE_ONLY | DISTRIBUTED_INFERENCE_ONLY,
    WorkloadType.DISTRIBUTED: TRAINING_ONLY | INFERENCE_ONLY | DISTRIBUTED_INFERENCE_ONLY,
    WorkloadType.INFERENCE: TRAINING_ONLY | DISTRIBUTED_ONLY | DISTRIBUTED_INFERENCE_ONLY | NOT_INFERENCE,
    WorkloadType.DISTRIBUTED_INFERENCE: TRAINING_ONLY | DISTRIBUTED_ONLY | (NOT_INFERENCE - {"restart_policy"}),
}
"""Fields of `WorkloadSpec` that a type does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a submission would become: the completed specification, and what stands against it."""

    spec: Mapping[str, Any]
    origins: Mapping[str, str]  # field -> policy that set its value
    violations: tuple[FieldError, ...]
    starts_now: bool | None = None  # None: not tried, because it is refused
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """What policies made of a specification."""

    fields: Mapping[str, Any]
    spec: WorkloadSpec
    master_spec: WorkloadSpec | None
    origins: Mapping[str, str]
    violations: tuple[FieldError, ...]
    assets: tuple[str, ...]  # imposed ones


class Submissions:
    """Resolves submissions against policies, projects and node pools."""

    def __init__(self, backend: Backend, policies: PolicyService, secrets: Secrets | None = None) -> None:
        self._store = backend.store
        self._clock = backend.clock
        self._policies = policies
        self._composer = Composer(backend.store, secrets)
        self._knows_secrets = backend.knows_secrets and secrets is not None
        self._claims = Claims(backend)
        self._requires = backend.requires
        self._resolves = backend.resolves

    async def resolve(self, actor: Actor, submission: Submission) -> tuple[Workload, Preview]:
        """Return the workload that the submission would be, and what policies say of it.

        Raises:
            InvalidRequest: a field is wrong. NotFound: no such project.
        """
        name = _checked_name(submission)
        project = await self._project(submission.project)
        composed = await self._composer.compose(submission, project)
        judged = _with_own_credentials(await self._judged(composed.submission, project), actor, submission)
        rules = effective_rules(await self._department(project), project)
        if wrong := check_node_type(rules, submission.type, judged.spec.node_type):
            raise InvalidRequest.of(*wrong)
        pools = await self._node_pools(judged.spec, rules)
        workload = _workload_of(
            replace(submission, name=name), judged, project, actor.name, pools=pools, now=self._clock.now()
        )
        master = workload.master_spec
        workload = replace(
            workload,
            spec=await self._claims.completed(workload.spec, project, "spec"),
            master_spec=master and await self._claims.completed(master, project, "masterSpec"),
            template=composed.template,
            assets=tuple(dict.fromkeys((*composed.assets, *judged.assets))),
            limits=limits_of(rules, submission.type, workload.preemptibility),
        )
        await self._check_runnable(workload, judged.fields, submission.keeps)
        return workload, Preview(spec=judged.fields, origins=judged.origins, violations=judged.violations)

    async def check_runnable(self, workload: Workload) -> None:
        """Raise InvalidRequest for a workload, completed and judged elsewhere, that cannot run here."""
        await self._check_runnable(workload, wire.encode(workload.spec), private_secrets(workload.spec))

    async def _judged(self, submission: Submission, project: Project) -> "_Judged":
        """Return the specification completed by policies, with what they impose."""
        policy_type = POLICY_TYPES.get(submission.type)
        evaluation = await self._policies.evaluate(policy_type, submission.spec, project)
        imposed = await self._composer.impose(evaluation.spec, evaluation.imposed_assets)
        spec = wire.decode(WorkloadSpec, imposed.spec, at="spec")
        _check_fields(submission.type, spec)
        violations, master_spec = (*evaluation.violations, *imposed.violations), None
        if submission.master_spec is not None:
            master = await self._policies.evaluate(policy_type, submission.master_spec, project, part="master")
            master_spec = wire.decode(WorkloadSpec, master.spec, at="masterSpec")
            violations += master.violations
        return _Judged(
            fields=imposed.spec,
            spec=spec,
            master_spec=master_spec,
            origins={**evaluation.origins, **imposed.origins},
            violations=violations,
            assets=imposed.assets,
        )

    async def _check_runnable(
        self, workload: Workload, spec: Mapping[str, Any], keeps: Collection[tuple[str, str]]
    ) -> None:
        """Refuse contradictions, and what the backend lacks, now and not when it would start."""
        if workload.type is WorkloadType.EXTERNAL:
            return
        check_forms(spec)
        if workload.master_spec is not None:
            check_forms(wire.encode(workload.master_spec), "masterSpec")
        missing = [path for path in self._requires if get_at(spec, path) is None]
        if missing:
            raise InvalidRequest.of(*(FieldError(f"spec.{path}", "is required on a cluster") for path in missing))
        gang_of(workload, run_context=RunContext(deferred=self._resolves))
        if wrong := await self._composer.missing_secrets(workload, keeps, knows_all=self._knows_secrets):
            raise InvalidRequest.of(*wrong)

    async def _project(self, name: str) -> Project:
        try:
            return await self._store.get(Project, name)
        except NotFound:
            known = (await self._store.list(Project, Query(sort_by="meta.name", limit=20))).items
            has = ", ".join(project.name for project in known) or "none"
            raise NotFound(f"there is no project {name[:80]}; there are: {has}") from None

    async def _department(self, project: Project) -> Department:
        try:
            return await self._store.get(Department, project.department)
        except NotFound:  # on a cluster a project can be there before its department
            return Department(meta=Meta(name=project.department))

    async def _node_pools(self, spec: WorkloadSpec, rules: EffectiveRules) -> tuple[str, ...]:
        wanted = spec.node_pools or rules.default_node_pools or (DEFAULT_NODE_POOL,)
        known = [pool.name for pool in (await self._store.list(NodePool, Query())).items]
        for index, name in enumerate(wanted):
            if name not in known:
                message = f"there is no such node pool; there are: {', '.join(sorted(known))}"
                raise InvalidRequest.of(FieldError(f"spec.nodePools.{index}", message, name))
        return tuple(wanted)


def _workload_of(
    submission: Submission, judged: _Judged, project: Project, author: str, *, pools: tuple[str, ...], now: float
) -> Workload:
    spec, defaults = judged.spec, TYPE_DEFAULTS[submission.type]
    priority_class = spec.priority_class or defaults.priority_class
    return Workload(
        meta=Meta(name=submission.name, project=project.name, created_by=author),
        department=project.department,
        type=submission.type,
        spec=spec,
        master_spec=judged.master_spec,
        has_master=submission.has_master,
        api_version=submission.api_version,
        kind=submission.kind,
        manifest=submission.manifest,
        priority_class=priority_class,
        priority=_priority(priority_class),
        preemptibility=_preemptibility(spec, defaults.preemptibility),
        category=spec.category or defaults.category,
        node_pools=pools,
        node_pool=pools[0],
        origins=judged.origins,
        revision=revision_of(submission.type, spec),
        source=submission.source,
        attempt=1,
        phase_updated_at=now,
    )


def _with_own_credentials(judged: _Judged, actor: Actor, submission: Submission) -> _Judged:
    """Return what policies made of it with the actor's private credentials, and those that it had before."""
    kept, master = {name for name, _ in submission.keeps}, judged.master_spec
    return replace(
        judged,
        spec=with_private_names(judged.spec, actor.name, kept),
        master_spec=None if master is None else with_private_names(master, actor.name, kept),
    )


def _checked_name(submission: Submission) -> str:
    name = submission.name
    if submission.name_is_prefix:
        name = f"{name}-{token_hex(3)}"
    if len(name) > MAX_NAME or not NAME.fullmatch(name):
        raise InvalidRequest.of(FieldError("name", NAME_RULE, submission.name[:80]))
    return name


def _check_fields(workload_type: WorkloadType, spec: WorkloadSpec) -> None:
    """Refuse fields that the type does not have, rather than ignore them."""
    empty = WorkloadSpec()
    wrong = [
        FieldError(f"spec.{to_camel(name)}", f"does not apply to {workload_type} workloads")
        for name in sorted(NOT_APPLICABLE.get(workload_type, frozenset()))
        if getattr(spec, name) != getattr(empty, name)
    ]
    if wrong:
        raise InvalidRequest.of(*wrong)


def _priority(priority_class: str) -> int:
    if priority_class not in PRIORITIES:
        message = f"must be one of {', '.join(PRIORITIES)}"
        raise InvalidRequest.of(FieldError("spec.priorityClass", message, priority_class[:80]))
    return PRIORITIES[priority_class]


def _preemptibility(spec: WorkloadSpec, default: Preemptibility) -> Preemptibility:
    if spec.preemptibility is not None:
        return Preemptibility(spec.preemptibility)
    if spec.priority_class is None:
        return default
    over = _priority(spec.priority_class) >= NON_PREEMPTIBLE_FROM
    return Preemptibility.NON_PREEMPTIBLE if over else Preemptibility.PREEMPTIBLE
