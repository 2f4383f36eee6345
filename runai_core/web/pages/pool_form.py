"""The form of a node pool."""

from collections.abc import Sequence
from typing import Any

from runai_core.model.errors import FieldError
from runai_core.model.nodes import NodePool, PlacementStrategy, WindowType
from runai_core.policy.tree import set_at
from runai_core.web.pages.inputs import Input, Option, Posted, Section, Widget, text_of
from runai_core.web.pages.unit_form import length_text

__all__ = ["body_of", "length_text", "posted_pool", "sections_of"]

_CONFIGURATION = "schedulingConfiguration"
_FAIR = f"{_CONFIGURATION}.timeBasedFairShare"
_RUNTIME = f"{_CONFIGURATION}.minGuaranteedRuntime"
_TOPOLOGY = "networkTopologyId"
_PLACEMENTS = tuple(Option(name.value) for name in PlacementStrategy)


def posted_pool(pool: NodePool) -> dict[str, list[str]]:
    """Return what a browser would post for the pool as it is."""
    texts = {
        "name": pool.name,
        "labelKey": pool.label_key,
        "labelValue": pool.label_value,
        "placementStrategy.gpu": pool.gpu_placement,
        "placementStrategy.cpu": pool.cpu_placement,
        _TOPOLOGY: pool.network_topology,
        _RUNTIME: length_text(int(pool.min_guaranteed_runtime)),
        f"{_FAIR}.enabled": str(pool.time_based_fair_share).lower(),
        f"{_FAIR}.historyWeight": f"{pool.fair_share_history_weight:g}",
        f"{_FAIR}.window": length_text(int(pool.fair_share_window)),
        f"{_FAIR}.windowType": pool.fair_share_window_type,
        f"{_FAIR}.halfLife": length_text(int(pool.fair_share_half_life)),
    }
    return {name: [str(text)] for name, text in texts.items()}


def body_of(posted: Posted, before: Posted) -> tuple[dict[str, Any], list[FieldError]]:
    """Return the body of the API with what differs from before, and what could not be read."""
    body: dict[str, Any] = {}
    errors = []
    for name in before:
        text = text_of(posted, name)
        if name not in posted or text == text_of(before, name):
            continue
        value: Any = text
        if name.endswith(".enabled"):
            value = text == "true"
        elif name.endswith(".historyWeight"):
            try:
                value = float(text)
            except ValueError:
                errors.append(FieldError(name, "must be a number from 0", text[:80]))
                continue
        set_at(body, name, value)
    return body, errors


def sections_of(posted: Posted, topologies: Sequence[str], *, is_new: bool, is_default: bool) -> tuple[Section, ...]:
    """Return the form with what was posted in it; `topologies` are the names of those to choose from."""

    def given(name: str, label: str, text: str = "", **more: Any) -> Input:
        return Input(name=name, label=label, value=text_of(posted, name), help=text, **more)

    which = (
        ()
        if is_default
        else (
            given("labelKey", "Label key", "Nodes with this label belong to the pool.", required=True),
            given("labelValue", "Label value", required=True),
        )
    )
    choice: dict[str, Any] = {"widget": Widget.SELECT, "required": True}
    spread = "binpack fills nodes, spread uses many, fragmentation keeps room for what was asked for before."
    general = (
        given("name", "Name", "Lower-case letters, digits and '-'.", required=is_new, locked=not is_new),
        *which,
        given("placementStrategy.gpu", "GPU placement", spread, options=_PLACEMENTS, **choice),
        given("placementStrategy.cpu", "CPU placement", "For pods without GPUs.", options=_PLACEMENTS, **choice),
        given(_RUNTIME, "Guaranteed run time", "Preemptible work is not evicted before, for example 30m."),
        *_near(text_of(posted, _TOPOLOGY), topologies),
    )
    return Section(title="", inputs=general), Section(
        title="Time-based fair share",
        is_open=text_of(posted, f"{_FAIR}.enabled") == "true",
        help="Who used much in the past gets less of what is over quota.",
        inputs=(
            given(
                f"{_FAIR}.enabled", "Past use counts", options=(Option("false", "no"), Option("true", "yes")), **choice
            ),
            given(f"{_FAIR}.historyWeight", "How much it counts", "0: not at all."),
            given(f"{_FAIR}.window", "How far back", "For example 7d."),
            given(f"{_FAIR}.windowType", "Window", options=tuple(Option(name.value) for name in WindowType), **choice),
            given(f"{_FAIR}.halfLife", "Half-life", "Age at which use counts half; 0s: never."),
        ),
    )


def _near(chosen: str, topologies: Sequence[str]) -> tuple[Input, ...]:
    """Return the choice of a network topology, where there is one to choose."""
    known = dict.fromkeys((*topologies, *([chosen] if chosen else [])))
    choice = Input(
        name=_TOPOLOGY,
        label="Network topology",
        widget=Widget.SELECT,
        value=chosen,
        options=tuple(Option(name) for name in known),
        help="Gangs that say nothing themselves are kept near by it.",
    )
    return (choice,) if known else ()
