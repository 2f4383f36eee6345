"""The choice of a storage class in a form, with what each class is and gives."""

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace

from runai_core.model.storage import StorageClassConfiguration
from runai_core.model.volumes import AccessModes
from runai_core.service.storage import ClassStatus
from runai_core.web.pages.inputs import Input, Option, Section, Widget

STORAGE_CLASS = "claimInfo.storageClass"
"""The input of the class, in the form of a data source."""


def with_classes(sections: Sequence[Section], classes: Sequence[ClassStatus]) -> tuple[Section, ...]:
    """Return the form with the classes to choose from; without any it stays as it is: they are not known."""
    if not classes:
        return tuple(sections)
    return tuple(
        replace(
            part, inputs=tuple(_choice(item, classes) if item.name == STORAGE_CLASS else item for item in part.inputs)
        )
        for part in sections
    )


def _choice(given: Input, classes: Sequence[ClassStatus]) -> Input:
    options = [Option(item.storage_class.name, ": ".join(part for part in _words(item) if part)) for item in classes]
    if given.value not in ("", *(option.value for option in options)):  # chosen before it went
        options.append(Option(given.value, f"{given.value}: the cluster has it no more"))
    help_ = "Left empty, the cluster's default. What is left empty beside it is as the class has it."
    return replace(given, widget=Widget.SELECT, options=tuple(options), help=help_)


def _words(status: ClassStatus) -> tuple[str, str]:
    sort = status.storage_class
    name = f"{sort.name} (default)" if sort.is_default else sort.name
    return name, "" if status.configuration is None else ", ".join(_said(status.configuration))


def _said(configuration: StorageClassConfiguration) -> Iterator[str]:
    rules = configuration.customization
    if (size := rules.claim_size) is not None:
        said = (("from {}", size.min), ("up to {}", size.max), ("{} if nothing is said", size.default))
        yield from (text.format(value) for text, value in said if value)
    if (mode := rules.access_mode) is not None and mode.default is not None:
        yield " and ".join(_MODES[item.name] for item in fields(AccessModes) if getattr(mode.default, item.name))
    if configuration.permissions.allowed_for_assets is False:
        yield "not for data sources"


_MODES = {
    "read_write_once": "one node writes",
    "read_only_many": "many nodes read",
    "read_write_many": "many nodes write",
}
