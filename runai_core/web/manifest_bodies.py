"""What the API takes about objects of frameworks: the bodies of requests."""

from typing import Annotated, Any

from pydantic import Field

from runai_core.web.schemas import Body, Name


class ManifestMetadata(Body):
    """What is said of a framework's object besides the object itself."""

    name: Annotated[str | None, Field(description="The object's own name when left out.")] = None
    use_given_name_as_prefix: Annotated[bool, Field(description="Add a random ending to the name.")] = False
    project_id: Annotated[Name, Field(description="Id or name of the project.")]
    cluster_id: Annotated[str | None, Field(description="May be left out: there is one cluster.")] = None
    category: str | None = None
    priority: Annotated[str | None, Field(description="Priority class; the default of its kind when left out.")] = None
    preemptibility: str | None = None
    node_pools: Annotated[tuple[Name, ...], Field(description="In order of preference.")] = ()


Manifest = Annotated[dict[str, Any] | None, Field(description="apiVersion, kind, metadata, spec.")]
Encoded = Annotated[str | None, Field(max_length=4 * 1024**2, description="The same as YAML in base 64, instead.")]


class ManifestCreate(Body):
    """An object of a framework to submit."""

    metadata: ManifestMetadata
    manifest: Manifest = None
    manifest_base64_encoded: Encoded = None


class ManifestChoices(Body):
    """What can be changed of what was said of a framework's object; what is left out stays."""

    category: str | None = None
    priority: Annotated[str | None, Field(description="Priority class.")] = None


class ManifestUpdate(Body):
    """A change of a framework's object: the whole object as it shall be, what is said of it, or both."""

    metadata: ManifestChoices = ManifestChoices()
    manifest: Manifest = None
    manifest_base64_encoded: Encoded = None
