"""Revisions of inference workloads: model objects -> answers of the API."""

from dataclasses import replace

from runai_core.model.snapshot import PodState
from runai_core.model.workload import Phase
from runai_core.service.revisions import Story
from runai_core.web.answers.revisions import RevisionItem
from runai_core.web.views.units import Directory, iso
from runai_core.web.views.workloads import typed_workload


def revision_item(story: Story, directory: Directory) -> RevisionItem:
    """Return a revision as a row of a list; an earlier one runs as long as pods of it do."""
    revision, edition = story.revision, story.revision.edition
    running = sum(pod.status.state is PodState.RUNNING for pod in story.pods)
    workload = replace(revision.workload, pods_running=running)
    if story.ended_at is not None:
        workload = replace(
            workload,
            phase=Phase.RUNNING if running else Phase.STOPPED,
            phase_message=f"replaced by revision {edition.number + 1}",
            phase_updated_at=story.ended_at,
        )
    shown = typed_workload(workload, directory)
    return RevisionItem.model_validate(
        {
            **{name: getattr(shown, name) for name in RevisionItem.model_fields if hasattr(shown, name)},
            "id": revision.meta.uid,
            "type": "runai-revision",
            "name": f"{workload.name}-{edition.number:05d}",
            "created_at": iso(edition.made_at),
            "created_by": edition.made_by,
            "revision_requested_resources": shown.workload_requested_resources,
            "number": edition.number,
            "is_present": story.ended_at is None,
            "native_name": revision.native,
        }
    )
