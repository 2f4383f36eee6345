"""The scheduling rules that are in force in a project or department, and whose rule each is."""

from runai_core.bootstrap import Orchestrator
from runai_core.model.errors import Forbidden, NotFound
from runai_core.model.meta import Meta, to_camel
from runai_core.model.organization import Actor, Department, Project
from runai_core.policy.scheduling_rules import EffectiveRules, effective_rules
from runai_core.web.pages.unit_form import RULES, length_text

PLACES = {
    "nodeTypes.workspace": "Node types of workspaces",
    "nodeTypes.training": "Node types of trainings",
    "defaultNodePools": "Default node pools",
}


async def rules_of(door: Orchestrator, actor: Actor, unit: Project | Department) -> EffectiveRules:
    """Return what is in force; of a department that the actor may not see, nothing is said."""
    if isinstance(unit, Department):
        return effective_rules(unit, Project(meta=Meta(name="")))
    try:
        return effective_rules(await door.organization.get_department(actor, unit.department), unit)
    except (NotFound, Forbidden):
        return effective_rules(Department(meta=Meta(name=unit.department)), unit)


def said_of(found: EffectiveRules) -> list[tuple[str, str, str]]:
    """Return label, value and origin of each rule."""
    names = {f"schedulingRules.{to_camel(name)}": name for name in RULES}
    values = {path: length_text(getattr(found.rules, name)) for path, name in names.items()}
    values |= {f"nodeTypes.{word}": ", ".join(types) for word, types in found.node_types.items()}
    values["defaultNodePools"] = ", ".join(found.default_node_pools)
    labels = {path: RULES[name] for path, name in names.items()} | PLACES
    return [(labels[path], values[path], origin.replace("/", " ")) for path, origin in found.origins.items()]
