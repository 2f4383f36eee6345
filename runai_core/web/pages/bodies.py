"""Bodies of the API made from forms: the same models judge both, and the same words tell what is wrong."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from runai_core.model.errors import InvalidRequest
from runai_core.web.errors import field_errors

Body = TypeVar("Body", bound=BaseModel)


def validated(model: type[Body], content: Mapping[str, Any]) -> Body:
    """Return the body.

    Raises:
        InvalidRequest: a field is wrong; names each by its path in the API.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise InvalidRequest.of(*field_errors(error.errors(include_url=False), model)) from None
