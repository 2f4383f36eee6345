"""New claims under what administrators say of their storage class."""

from typing import Any

import pytest

from runai_core import wire
from runai_core.model.errors import InvalidRequest
from runai_core.model.meta import Meta
from runai_core.model.storage import StorageClassConfiguration, StorageCustomization, StoragePermissions
from runai_core.model.volumes import ClaimInfo
from runai_core.policy.claims import check_claim, check_configuration, completed

SIZES: dict[str, Any] = {
    "claimSize": {"default": "10GB", "min": "1GB", "max": "1TiB", "supportedUnits": ["GB", "GiB", "TiB"]}
}
MODES: dict[str, Any] = {
    "accessMode": {"default": {"readWriteMany": True}, "supportedValues": {"readOnlyMany": False}},
    "volumeMode": {"default": "Filesystem", "supportedValues": {"block": False}},
}


def said(permissions: dict[str, Any] | None = None, **customization: Any) -> StorageClassConfiguration:
    return StorageClassConfiguration(
        meta=Meta(name="fast"),
        storage_class="fast",
        permissions=wire.decode(StoragePermissions, permissions or {}),
        customization=wire.decode(StorageCustomization, customization),
    )


def claim(**given: Any) -> ClaimInfo:
    return wire.decode(ClaimInfo, given)


def test_a_claim_gets_the_defaults_of_its_class_for_what_it_does_not_say() -> None:
    filled = completed(claim(storageClass="fast"), said(**SIZES, **MODES))

    assert wire.encode(filled) == {
        "storageClass": "fast", "size": "10GB", "accessModes": {"readWriteMany": True}, "volumeMode": "Filesystem",
    }  # fmt: skip


def test_what_a_claim_says_itself_stays() -> None:
    asked = claim(size="2GB", accessModes={"readWriteOnce": True}, volumeMode="Block")

    assert completed(asked, said(**SIZES, **MODES)) == asked


WRONG = [
    ("too small", {"size": "0.5GB"}, "size", "at least 1GB"),
    ("too large", {"size": "2TiB"}, "size", "at most 1TiB"),
    ("another unit", {"size": "1100MB"}, "size", "must be in GB, GiB, TiB"),
    ("a way to mount that the class has not", {"accessModes": {"readOnlyMany": True}}, "accessModes.readOnlyMany",
     "allowed are: readWriteOnce, readWriteMany"),
    ("a device", {"volumeMode": "Block"}, "volumeMode", "is not for claims of this class"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "field", "text"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_what_the_class_does_not_have_is_refused_at_its_field(given: dict[str, Any], field: str, text: str) -> None:
    (error,) = check_claim(claim(**given), said(**SIZES, **MODES), "at", ephemeral=False, shared=False)

    assert error.field == f"at.{field}"
    assert text in error.message


def test_a_size_is_as_large_in_every_spelling() -> None:
    sizes = ["1GB", "1G", "1024GiB", "1TiB"]

    wrong = [list(check_claim(claim(size=size), said(**SIZES), "at", ephemeral=False, shared=False)) for size in sizes]

    assert wrong == [[], [], [], []]


def test_what_has_to_be_said_and_is_not_is_asked_for() -> None:
    rules = said(accessMode={"required": True}, volumeMode={"required": True})

    wrong = list(check_claim(claim(), rules, "at", ephemeral=False, shared=False))

    assert [item.field for item in wrong] == ["at.accessModes", "at.volumeMode"]


FORBIDDEN = [
    ("for workloads", {"allowedForWorkloads": False}, {}, "new claims of workloads"),
    ("for data sources", {"allowedForAssets": False}, {"users": "assets"}, "new claims of assets"),
    ("that go with a workload", {"allowedForEphemeralVolumes": False}, {"ephemeral": True}, "go with their workload"),
    ("that stay", {"allowedForPersistentVolumes": False}, {}, "outlive their workload"),
    ("that are shared", {"allowDataSharing": False}, {"shared": True}, "claims that are shared"),
]


@pytest.mark.parametrize(
    ("permissions", "how", "text"), [row[1:] for row in FORBIDDEN], ids=[row[0] for row in FORBIDDEN]
)
def test_a_class_can_be_kept_from_claims(permissions: dict[str, Any], how: dict[str, Any], text: str) -> None:
    asked: dict[str, Any] = {"ephemeral": False, "shared": False, **how}

    (error,) = check_claim(claim(), said(permissions), "at", **asked)

    assert (error.field, error.given) == ("at.storageClass", "fast")
    assert text in error.message
    assert list(check_claim(claim(), said(), "at", **asked)) == []


CONTRADICTIONS = [
    ("the largest is smaller than the smallest", {"min": "2GB", "max": "1GB"}, "max"),
    ("the default is too small", {"min": "2GB", "default": "1GB"}, "default"),
    ("a unit that nobody knows", {"supportedUnits": ["GB", "blocks"]}, "supportedUnits.1"),
]


@pytest.mark.parametrize(
    ("sizes", "field"), [row[1:] for row in CONTRADICTIONS], ids=[row[0] for row in CONTRADICTIONS]
)
def test_rules_that_contradict_themselves_are_refused(sizes: dict[str, Any], field: str) -> None:
    (error,) = check_configuration(wire.decode(StorageCustomization, {"claimSize": sizes}))

    assert error.field == f"customization.claimSize.{field}"


def test_a_size_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"customization\.claimSize\.min.*must be a quantity"):
        list(check_configuration(wire.decode(StorageCustomization, {"claimSize": {"min": "much"}})))
