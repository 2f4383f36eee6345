"""The tables of the administrator's page, docs/kubernetes.md: rights, webhooks, kinds. Pure."""

from collections.abc import Iterable

from runai_core.backends.kubernetes.names import SYSTEM_NAMESPACE
from runai_core.operator.install.crds import DEFINITIONS
from runai_core.operator.install.rbac import LOCAL_RIGHTS, PEOPLE, PROJECT_SECRETS, RIGHTS, Right
from runai_core.operator.install.webhooks import WEBHOOKS
from runai_core.service.families import Seen, cluster_families
from runai_core.service.use_families import use_families


def table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table of Markdown."""
    lines = [f"| {' | '.join(titles)} |"]
    lines.append("| " + " | ".join("---" for _ in lines[0].split("|")[1:-1]) + " |")
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def rights() -> str:
    """Return the rights of our processes."""
    rows = []
    for component, found in RIGHTS.items():
        rows += [[component, "cluster", *_row(right)] for right in found]
        if component == "operator":
            rows += [[component, "projects", *_row(right)] for right in PROJECT_SECRETS]
        for namespace, local in LOCAL_RIGHTS[component].items():
            rows += [[component, f"`{namespace or SYSTEM_NAMESPACE}`", *_row(right)] for right in local]
    return table(("Process", "Where", "Resources", "Verbs", "Why"), rows)


def people() -> str:
    """Return the rights of people in the namespaces of their projects."""
    rows = [[f"`{name}`", *_row(right)[:2]] for name, found in PEOPLE.items() for right in found]
    return table(("Cluster role", "Resources", "Verbs"), rows)


def webhooks() -> str:
    """Return the questions that the API server asks."""
    rows = [
        [f"`{item.name}`", item.question, f"{item.timeout} s", item.when_down]
        for item in WEBHOOKS
    ]  # fmt: skip
    return table(("Webhook", "What it answers", "Time limit", "When it is down"), rows)


def kinds() -> str:
    """Return the kinds that are installed."""
    rows = [
        [f"`{item.resource.kind}`", f"`{item.resource.api_version}`", "`" + "`, `".join(item.short) + "`" if item.short
         else "", "namespace" if item.resource.namespaced else "cluster", item.description]
        for item in DEFINITIONS
    ]  # fmt: skip
    return table(("Kind", "Group and version", "Short", "Scope", "What it is"), rows)


def metrics() -> str:
    """Return the metrics of the operator."""
    nothing = Seen(cluster_id="", now=0.0)
    families = [*cluster_families(nothing), *use_families(nothing)]
    return table(("Metric", "What it is"), [[f"`{family.name}`", family.help] for family in families])


def _row(right: Right) -> list[str]:
    group = f".{right.group}" if right.group else ""
    names = f" (only {', '.join(f'`{name}`' for name in right.names)})" if right.names else ""
    resources = ", ".join(f"`{name}{group}`" for name in right.resources)
    return [resources + names, ", ".join(right.verbs), right.reason]


TABLES = {"rights": rights, "people": people, "webhooks": webhooks, "kinds": kinds, "metrics": metrics}


def with_current_tables(text: str) -> str:
    """Return the page with its tables made anew; each stands between two comments with its name.

    Raises:
        ValueError: the page has no place for one of them.
    """
    for name, make in TABLES.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        start, stop = text.index(begin) + len(begin), text.index(end)
        text = f"{text[:start]}\n\n{make()}\n\n{text[stop:]}"
    return text
