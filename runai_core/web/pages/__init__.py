"""Pages for people: server-rendered, over the same services as REST.

Each module has a `router` made by `frame.page_router`; to add a page, add its
router to `routers`. A path with a fixed last part comes before one with an id.
"""

from fastapi import APIRouter

from runai_core.web.pages import (
    access,
    accounts,
    actions,
    assets,
    audit,
    clusters,
    connect,
    details,
    forms,
    frame,
    framework_form,
    nodes,
    organization,
    overview,
    policies,
    reports,
    revisions,
    roles,
    settings,
    templates,
    topologies,
    workloads,
)

__all__ = ["routers"]


def routers() -> tuple[APIRouter, ...]:
    """Return the routes of all pages, in the order in which they are tried."""
    return (
        frame.router,
        framework_form.router,
        forms.router,
        organization.router,
        nodes.router,
        overview.router,
        policies.router,
        assets.router,
        templates.router,
        clusters.router,
        topologies.router,
        access.router,
        roles.router,
        accounts.router,
        audit.router,
        reports.router,
        settings.router,
        actions.router,
        revisions.router,
        workloads.router,
        connect.router,
        details.router,  # last: /workloads/{uid} would take what is new or a file
    )
