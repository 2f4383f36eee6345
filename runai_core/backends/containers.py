"""Which container of a pod is meant."""

from collections.abc import Sequence

from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.ports import MAIN_CONTAINER


def container_of(names: Sequence[str], asked: str | None) -> str:
    """Return the container that is meant by a name, of those of a pod, the main one first.

    Without a name it is the main one, whose name in the API is always that of `MAIN_CONTAINER`.

    Raises:
        InvalidRequest: the pod has none of this name; says which it has.
    """
    if asked in names:
        return str(asked)
    if asked in (None, "", MAIN_CONTAINER):
        return names[0]
    raise InvalidRequest.of(FieldError("container", f"must be one of {', '.join(names)}", str(asked)[:80]))
