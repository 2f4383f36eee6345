"""Filters: which nodes can hold a pod, and the reason for each that cannot.

Filters that look at one node alone are evaluated once per class and kept as a
set of nodes. Room is checked on demand. A class keeps supersets of the nodes
with room: a node that proves too small is dropped, and nodes that grew are put
back before the next use, so a full node costs a class one check in a cycle.
"""

from collections.abc import Callable, Iterator

from runai_core.engine import gpu
from runai_core.engine.entities import DRA, GPU, NO_GPU, PLACED, PROMISED, RUNNING, SHARED, SLICES, WHOLE, PodClass
from runai_core.engine.session import Session
from runai_core.model.nodes import Taint, TaintEffect
from runai_core.model.snapshot import LabelRequirement, NodeEntry, PodAffinityTerm, PodConstraints, Toleration

NO, LATER, NOW = range(3)
"""Answers of a room check: not at all, when others have left, at once."""

NodeTest = Callable[[NodeEntry], bool]


def bits(mask: int) -> Iterator[int]:
    """Yield the numbers of the nodes in a set, in name order."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def prepare(session: Session, kind: PodClass) -> None:
    """Bring a class's masks up to date: static filters on first sight, then nodes that grew since."""
    if kind.static < 0:
        _apply_static(session, kind)
        kind.fits_idle = kind.fits_later = kind.fits_shared = kind.static
        kind.seen, kind.seen_opened = len(session.grown), len(session.opened)
        return
    if kind.form == SHARED and kind.seen_opened < len(session.opened):
        for mask in session.opened[kind.seen_opened :]:
            kind.fits_shared |= mask & kind.static
        kind.seen_opened = len(session.opened)
    log = session.grown
    if kind.seen < len(log):
        grown = 0
        for mask in log[kind.seen :]:
            grown |= mask
        kind.seen = len(log)
        grown &= kind.static
        kind.fits_idle |= grown
        kind.fits_later |= grown
        kind.fits_shared |= grown


def room(session: Session, kind: PodClass, node: int) -> int:
    """Return whether a node has room for one pod of a class: `NO`, `LATER` or `NOW`."""
    later = session.later[node]
    if later[0] < kind.cpu or later[1] < kind.memory or later[2] < kind.gpus or later[3] < 1:
        return NO
    idle = session.idle[node]
    now = idle[0] >= kind.cpu and idle[1] >= kind.memory and idle[2] >= kind.gpus and idle[3] >= 1
    if kind.extended is not None:
        if not _extended_fit(session.later_extended[node], kind):
            return NO
        now = now and _extended_fit(session.idle_extended[node], kind)
    if kind.form == SHARED:
        chosen = choose_devices(session, kind, node)
        if chosen is None:
            return NO
        now = now and chosen[1]
        if session.device_slots:
            slots = 1 + sum(name not in session.devices[node] for name in chosen[0])
            if later[3] < slots:
                return NO
            now = now and idle[3] >= slots
    return NOW if now else LATER


def choose_devices(session: Session, kind: PodClass, node: int) -> tuple[tuple[str, ...], bool] | None:
    """Return the devices that a pod would share on a node and whether they have room now; `None` = no room."""
    mib = session.nodes[node].gpu_memory_mib
    whole = (session.idle[node][GPU], session.later[node][GPU])
    pack = (session.settings.device_placement or session.settings.gpu_placement) != "spread"
    return gpu.choose(
        session.devices[node], gpu.capacity(mib), gpu.need(kind.portion, kind.mib, mib), kind.devices, whole, pack
    )


def can_join(session: Session, kind: PodClass, node: int) -> bool:
    """Return whether a device that is shared already on the node has room for the class."""
    table = session.devices[node]
    if not table:
        return False
    mib = session.nodes[node].gpu_memory_mib
    return gpu.can_join(table, gpu.capacity(mib), gpu.need(kind.portion, kind.mib, mib))


def _extended_fit(row: dict[str, int] | None, kind: PodClass) -> bool:
    return row is not None and all(row.get(name, 0) >= amount for name, amount in kind.extended or ())


# -- static filters -----------------------------------------------------------------------------------------------


def _apply_static(session: Session, kind: PodClass) -> None:
    """Find the nodes that pass all filters of one node alone, and count the others by reason."""
    refused: dict[str, int] = {}
    mask = session.all_nodes
    for reason, allowed in _static_filters(session, kind):
        lost = mask & ~allowed
        if lost:
            refused[reason] = refused.get(reason, 0) + lost.bit_count()
            mask &= allowed
    for rule in session.rules.filters:
        for node in bits(mask):
            reason = rule.function(kind.example, session.nodes[node])
            if reason:
                refused[reason] = refused.get(reason, 0) + 1
                mask ^= 1 << node
    kind.static = mask
    kind.refused = tuple(refused.items())


def _static_filters(session: Session, kind: PodClass) -> Iterator[tuple[str, int]]:
    """Yield (words for a refusal, nodes that pass) for each built-in filter."""
    constraints = kind.constraints
    if kind.mib:
        yield "the GPU memory of the node is not known", _where(session, "mib", lambda node: node.gpu_memory_mib > 0)
    if not session.constraints_on:
        return
    yield "the node is not ready", _where(session, "ready", lambda node: node.ready)
    yield "the node is cordoned", _where(session, "cordon", lambda node: not node.unschedulable)
    yield "the pod uses retired MIG annotations", 0 if kind.example.legacy_mig else session.all_nodes
    yield "the node's GPUs are not offered in this form", _gpu_forms(session, kind)
    yield "a taint that the pod does not tolerate", _tolerated(session, constraints.tolerations)
    if constraints.node_names:
        named = sum(1 << session.node_index[name] for name in set(constraints.node_names) if name in session.node_index)
        yield "the node is not one of those named", named
    for key, value in constraints.node_selector:
        yield f"the node selector {key}={value}", _labelled(session, key, value)
    if constraints.node_affinity:
        yield "the node affinity", _affine(session, constraints)
    if kind.example.resource_claims:
        yield "a resource claim that is missing or belongs to another queue", _claims(session, kind)


def _where(session: Session, name: str, test: NodeTest) -> int:
    """Return the nodes that pass a test; worked out once per session."""
    known = session.cache.get(("where", name))
    if isinstance(known, int):
        return known
    mask = sum(1 << index for index, node in enumerate(session.nodes) if test(node)) if session.nodes else 0
    session.cache["where", name] = mask
    return mask


def _gpu_forms(session: Session, kind: PodClass) -> int:
    """Return the nodes that offer GPUs in the form that the class asks for (scheduler semantics, 3.4)."""
    if kind.form == NO_GPU:
        return session.all_nodes
    from_claims = _where(session, "dra", lambda node: node.dra_gpus > 0)
    mixed = _where(session, "mixed", lambda node: node.mig_strategy == "mixed")
    single = _where(session, "single", lambda node: node.mig_strategy == "single")
    if kind.form == WHOLE:
        return session.all_nodes & ~from_claims & ~mixed
    if kind.form == SHARED:
        return session.all_nodes & ~from_claims & ~mixed & ~single
    if kind.request.mig:
        return mixed
    return from_claims


def _tolerated(session: Session, tolerations: tuple[Toleration, ...]) -> int:
    """Return the nodes without a taint that keeps the pod away."""
    known = session.cache.get("tainted")
    tainted: dict[Taint, int] = known if isinstance(known, dict) else {}
    if known is None:
        for index, node in enumerate(session.nodes):
            for taint in node.taints:
                if taint.effect != TaintEffect.PREFER_NO_SCHEDULE:
                    tainted[taint] = tainted.get(taint, 0) | 1 << index
        session.cache["tainted"] = tainted
    mask = session.all_nodes
    for taint, nodes in tainted.items():
        if not any(tolerates(toleration, taint) for toleration in tolerations):
            mask &= ~nodes
    return mask


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """Return whether a toleration covers a taint, as Kubernetes defines it."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if not toleration.key:
        return toleration.operator == "Exists"
    return toleration.key == taint.key and (toleration.operator == "Exists" or toleration.value == taint.value)


def _labelled(session: Session, key: str, value: str) -> int:
    return label_values(session, key).get(value, 0)


def label_values(session: Session, key: str) -> dict[str, int]:
    """Return the nodes for each value of a label."""
    known = session.cache.get(("label", key))
    if isinstance(known, dict):
        return known
    values: dict[str, int] = {}
    for index, node in enumerate(session.nodes):
        value = node.labels.get(key)
        if value is not None:
            values[value] = values.get(value, 0) | 1 << index
    session.cache["label", key] = values
    return values


def _affine(session: Session, constraints: PodConstraints) -> int:
    """Return the nodes that meet any term of the node affinity, all requirements of it."""
    mask = 0
    for term in constraints.node_affinity:
        mask |= nodes_that_meet(session, term)
    return mask


def nodes_that_meet(session: Session, term: tuple[LabelRequirement, ...]) -> int:
    """Return the nodes that meet all requirements of a term; one without requirements is met by none."""
    allowed = session.all_nodes if term else 0
    for requirement in term:
        allowed &= _meets(session, requirement)
    return allowed


def _meets(session: Session, requirement: LabelRequirement) -> int:
    mask = 0
    for value, nodes in label_values(session, requirement.key).items():
        if matches(requirement, value):
            mask |= nodes
    if requirement.operator in ("NotIn", "DoesNotExist"):
        labelled = 0
        for nodes in label_values(session, requirement.key).values():
            labelled |= nodes
        mask |= session.all_nodes & ~labelled
    return mask


def matches(requirement: LabelRequirement, value: str) -> bool:
    """Return whether a label's value meets one requirement of a selector (the label is there)."""
    operator = requirement.operator
    if operator == "In":
        return value in requirement.values
    if operator == "NotIn":
        return value not in requirement.values
    if operator in ("Gt", "Lt"):
        return _compares(operator, value, requirement.values)
    return operator == "Exists"


def _compares(operator: str, value: str, bounds: tuple[str, ...]) -> bool:
    try:
        left, right = int(value), int(bounds[0])
    except (ValueError, IndexError):
        return False
    return left > right if operator == "Gt" else left < right


def _claims(session: Session, kind: PodClass) -> int:
    """Return the nodes that the pod's claims allow: all must exist, belong to its queue, and be there if allocated."""
    known = {claim.name: claim for claim in session.snapshot.claims}
    job = session.jobs.get(kind.example.pod_group)
    mask = session.all_nodes
    for name in kind.example.resource_claims:
        claim = known.get(name)
        if claim is None or job is None or dict(claim.labels).get(QUEUE_LABEL) != job.group.queue:
            return 0
        for node, _ in claim.allocated_devices:
            mask &= 1 << session.node_index[node] if node in session.node_index else 0
    return mask


QUEUE_LABEL = "kai.scheduler/queue"


# -- filters that look at other pods ---------------------------------------------------------------------------------


def passes_neighbours(session: Session, kind: PodClass, node: int) -> str:
    """Return why the pods that run elsewhere keep a pod off a node, or an empty string.

    Required pod affinity and anti-affinity, in both directions, and host ports.
    """
    if not session.constraints_on:
        return ""
    if kind.example.resource_claims and _claimed_elsewhere(session, kind, node):
        return "a resource claim that another pod took elsewhere"
    for term in kind.constraints.pod_affinity:
        if term.required and not _term_holds(session, kind, term, node):
            return "the pod anti-affinity" if term.anti else "the pod affinity"
    if _repelled(session, kind, node):
        return "the anti-affinity of a pod that runs there"
    if kind.constraints.host_ports and _ports_taken(session, kind, node):
        return "a host port that is taken"
    return ""


def _claimed_elsewhere(session: Session, kind: PodClass, node: int) -> bool:
    """Return whether a pod of this cycle took one of the claims on another node."""
    wanted = set(kind.example.resource_claims)
    return any(
        session.pod_node[pod] != node and not wanted.isdisjoint(session.pods[pod].resource_claims)
        for pod in placed_pods(session)
    )


def placed_pods(session: Session) -> list[int]:
    """Return the pods that have a place, or a promise of one."""
    return [
        pod for pod, state in enumerate(session.pod_state) if PLACED <= state <= PROMISED and session.pod_node[pod] >= 0
    ]


def selects(selector: tuple[LabelRequirement, ...], labels: tuple[tuple[str, str], ...]) -> bool:
    """Return whether a pod with these labels meets all requirements of a selector."""
    own = dict(labels)
    for requirement in selector:
        if requirement.key in own:
            if not matches(requirement, own[requirement.key]):
                return False
        elif requirement.operator not in ("NotIn", "DoesNotExist"):
            return False
    return True


def _same_domain(session: Session, key: str, one: int, other: int) -> bool:
    value = session.nodes[one].labels.get(key)
    return value is not None and value == session.nodes[other].labels.get(key)


def _term_holds(session: Session, kind: PodClass, term: PodAffinityTerm, node: int) -> bool:
    """Return whether a required term holds on a node; a first pod may match its own affinity."""
    matching = [pod for pod in placed_pods(session) if selects(term.selector, session.pods[pod].labels)]
    near = any(_same_domain(session, term.topology_key, node, session.pod_node[pod]) for pod in matching)
    if term.anti:
        return not near
    if near:
        return True
    has_domain = term.topology_key in session.nodes[node].labels
    return not matching and has_domain and selects(term.selector, kind.example.labels)


def _repelled(session: Session, kind: PodClass, node: int) -> bool:
    return any(
        term.anti
        and term.required
        and selects(term.selector, kind.example.labels)
        and _same_domain(session, term.topology_key, node, session.pod_node[pod])
        for pod in placed_pods(session)
        for term in session.pod_class[pod].constraints.pod_affinity
    )


def _ports_taken(session: Session, kind: PodClass, node: int) -> bool:
    wanted = set(kind.constraints.host_ports)
    return any(
        not wanted.isdisjoint(session.pod_class[pod].constraints.host_ports)
        for pod in placed_pods(session)
        if session.pod_node[pod] == node
    )


def preferred_affinity(session: Session, kind: PodClass, node: int) -> int:
    """Return the sum of the weights of preferred pod affinity terms that the node meets."""
    score = 0
    for term in kind.constraints.pod_affinity:
        if not term.required:
            for pod in placed_pods(session):
                if selects(term.selector, session.pods[pod].labels) and _same_domain(
                    session, term.topology_key, node, session.pod_node[pod]
                ):
                    score += -term.weight if term.anti else term.weight
    return score


__all__ = [
    "DRA",
    "LATER",
    "NO",
    "NOW",
    "RUNNING",
    "SLICES",
    "bits",
    "can_join",
    "choose_devices",
    "label_values",
    "nodes_that_meet",
    "passes_neighbours",
    "placed_pods",
    "preferred_affinity",
    "prepare",
    "room",
    "selects",
]
