"""Which policies are nearer to a workload, what they are called, and who may change them."""

from collections.abc import Mapping, Sequence

from runai_core.model.workload import Policy
from runai_core.policy.v2alpha1 import is_v2alpha1

NEAREST_FIRST = ("project", "department", "cluster", "tenant", "system")

_ADMINISTRATORS: Mapping[str, str] = {
    "project": "ask the administrator of project {scope}",
    "department": "ask the administrator of department {scope}",
    "cluster": "ask the cluster's administrator",
    "tenant": "ask the tenant's administrator",
    "system": "it comes with the product and cannot be changed",
}


def nearest_first(policies: Sequence[Policy]) -> list[Policy]:
    """Return the policies that apply, nearest scope first.

    The v2alpha1 form has one policy for each project, or else the global one:
    they are not merged (Run:ai docs 2.13), so that one of them is left out.
    """
    has_own = any(is_v2alpha1(policy.document) and policy.scope_type == "project" for policy in policies)
    applying = [
        policy
        for policy in policies
        if not (has_own and is_v2alpha1(policy.document) and policy.scope_type != "project")
    ]
    return sorted(applying, key=lambda policy: (NEAREST_FIRST.index(policy.scope_type), policy.scope, policy.meta.name))


def name_of(policy: Policy) -> str:
    """Return what people call a policy: its type and its scope."""
    if policy.scope_type in ("system", "tenant", "cluster"):
        return f"{policy.type} of the {policy.scope_type}"
    return f"{policy.type} of {policy.scope_type} {policy.scope}"


def authority_of(policy: Policy) -> str:
    """Return the name of a policy, and who may change it."""
    return f"{name_of(policy)}; {_ADMINISTRATORS[policy.scope_type].format(scope=policy.scope)}"
