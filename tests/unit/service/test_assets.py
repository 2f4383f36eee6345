"""Assets without a server: sealing, scopes, and laying fields under each other."""

from pathlib import Path
from typing import Any

import pytest

from runai_core.model.assets import Asset, AssetKind, DataVolume
from runai_core.model.errors import Unavailable
from runai_core.model.meta import Meta
from runai_core.model.organization import Project
from runai_core.service.asset_fields import fields_of, under
from runai_core.service.asset_scopes import covers, is_shared, is_visible
from runai_core.service.preinstalled import PREINSTALLED
from runai_core.service.secrets import Vault

VISION = Project(meta=Meta(name="vision"), department="research", cluster="c1")
DEPARTMENTS = {"vision": "research", "speech": "research", "web": "sales"}


def an_asset(kind: AssetKind = AssetKind.COMPUTE, scope_type: str = "tenant", scope: str = "", **spec: Any) -> Asset:
    return Asset(meta=Meta(name="x"), kind=kind, title="x", scope_type=scope_type, scope=scope, spec=spec)


# sealing


def test_what_is_sealed_is_opened_for_its_owner_only(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "keys")

    sealed = vault.seal("a", {"password": "p"})

    assert "password" not in sealed
    assert vault.open("a", sealed) == {"password": "p"}
    with pytest.raises(Unavailable, match="b cannot be decrypted"):
        vault.open("b", sealed)


def test_the_key_file_is_for_its_owner_and_is_read_again_by_others(tmp_path: Path) -> None:
    first, second = Vault(tmp_path / "keys"), Vault(tmp_path / "keys")
    sealed = first.seal("a", {"k": "1"})
    assert second.open("a", sealed) == {"k": "1"}

    first.rotate()  # another replica has the old keys in its memory
    anew = first.seal("a", {"k": "2"})

    assert second.open("a", anew) == {"k": "2"}
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o600
    assert first.open("a", sealed) == {"k": "1"}
    first.forget_old()
    with pytest.raises(Unavailable, match="enter the credential again"):
        Vault(tmp_path / "keys").open("a", sealed)


def test_a_lost_key_file_is_not_made_anew_by_reading(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    sealed = Vault(path).seal("a", {"k": "1"})
    kept = path.read_bytes()
    path.unlink()

    with pytest.raises(Unavailable, match="restore"):
        Vault(path).open("a", sealed)
    assert not path.exists()
    path.write_bytes(kept)
    assert Vault(path).open("a", sealed) == {"k": "1"}


def test_what_a_replica_seals_after_a_rotation_can_be_opened_by_all(tmp_path: Path) -> None:
    first, second = Vault(tmp_path / "keys"), Vault(tmp_path / "keys")
    second.open("a", first.seal("a", {}))
    first.rotate()
    first.forget_old()

    sealed = second.seal("b", {"k": "1"})  # the second one had only the forgotten key in its memory

    assert first.open("b", sealed) == {"k": "1"}


@pytest.mark.parametrize("content", [b"not a key\n", b"\x00\xff\n"], ids=["a word", "no text"])
def test_a_damaged_key_file_is_named_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content)

    with pytest.raises(Unavailable, match="is damaged"):
        Vault(path).seal("a", {})
    assert path.read_bytes() == content


# scopes


@pytest.mark.parametrize(
    ("scope_type", "scope", "expected"),
    [
        pytest.param("system", "", True, id="of the product"),
        pytest.param("tenant", "", True, id="of the tenant"),
        pytest.param("department", "research", True, id="of its department"),
        pytest.param("department", "sales", False, id="of another department"),
        pytest.param("cluster", "", True, id="of the only cluster"),
        pytest.param("cluster", "c1", True, id="of its cluster"),
        pytest.param("cluster", "c2", False, id="of another cluster"),
        pytest.param("project", "vision", True, id="its own"),
        pytest.param("project", "speech", False, id="of another project"),
    ],
)
def test_a_project_may_use_what_is_above_it(scope_type: str, scope: str, expected: bool) -> None:
    assert covers(an_asset(scope_type=scope_type, scope=scope), VISION) is expected


@pytest.mark.parametrize(
    ("scope_type", "scope", "projects", "expected"),
    [
        pytest.param("project", "speech", None, True, id="everywhere: everything"),
        pytest.param("tenant", "", frozenset({"web"}), True, id="in one project: what is the tenant's"),
        pytest.param("tenant", "", frozenset(), False, id="nowhere: nothing"),
        pytest.param("department", "research", frozenset({"vision"}), True, id="what is its department's"),
        pytest.param("department", "research", frozenset({"web"}), False, id="not what another department's is"),
        pytest.param("project", "speech", frozenset({"vision"}), False, id="not what another project's is"),
    ],
)
def test_people_see_the_assets_of_their_scopes(
    scope_type: str, scope: str, projects: frozenset[str] | None, expected: bool
) -> None:
    assert is_visible(an_asset(scope_type=scope_type, scope=scope), projects, DEPARTMENTS) is expected


@pytest.mark.parametrize(
    ("shared", "expected"),
    [
        pytest.param((), False, id="with nobody"),
        pytest.param(("department/research",), True, id="with the department"),
        pytest.param(("project/web",), False, id="with another project"),
        pytest.param(("tenant/",), True, id="with all"),
    ],
)
def test_a_data_volume_is_for_those_it_is_shared_with(shared: tuple[str, ...], expected: bool) -> None:
    volume = DataVolume(meta=Meta(name="v", project="web"), claim_name="c", shared=shared)

    assert is_shared(volume, VISION) is expected


# fields


@pytest.mark.parametrize(
    ("base", "given", "expected"),
    [
        pytest.param({"a": 1}, {"a": 2}, {"a": 2}, id="the given value wins"),
        pytest.param({"compute": {"x": 1}}, {"compute": {"y": 2}}, {"compute": {"x": 1, "y": 2}}, id="sections merge"),
        pytest.param(
            {"labels": [{"name": "a", "value": "1"}, {"name": "b", "value": "1"}]},
            {"labels": [{"name": "a", "value": "2"}]},
            {"labels": [{"name": "b", "value": "1"}, {"name": "a", "value": "2"}]},
            id="entries merge by their name",
        ),
        pytest.param(
            {"labels": [{"name": "a"}]}, {"labels": "x"}, {"labels": "x"}, id="what is no list stays as it is"
        ),
        pytest.param({"nodePools": ["a"]}, {"nodePools": ["b"]}, {"nodePools": ["b"]}, id="plain lists are replaced"),
    ],
)
def test_fields_are_laid_under_what_was_given(base: Any, given: Any, expected: Any) -> None:
    assert under(base, given) == expected


def test_an_environment_brings_process_identity_and_tools() -> None:
    tool = {
        "toolType": "custom",
        "connectionType": "NodePort",
        "containerPort": 80,
        "nodePortInfo": {"nodePort": 30080},
    }
    asset = an_asset(
        AssetKind.ENVIRONMENT,
        image="i",
        runAsUid=7,
        environmentVariables=[{"name": "T", "credential": {"assetId": "c", "key": "k"}}],
        connections=[{"name": "web", "internalToolInfo": tool}],
    )

    fields = fields_of(asset, lambda uid: f"secret-{uid}")

    assert fields == {
        "image": "i",
        "security": {"runAsUid": 7},
        "environmentVariables": [{"name": "T", "secret": {"name": "secret-c", "key": "k"}}],
        "ports": [
            {
                "name": "web",
                "container": 80,
                "toolType": "custom",
                "toolName": "web",
                "serviceType": "NodePort",
                "external": 30080,
            }
        ],
    }


@pytest.mark.parametrize("asset", PREINSTALLED, ids=lambda asset: asset.title)
def test_what_comes_with_the_product_is_a_valid_environment(asset: Asset) -> None:
    from runai_core import wire
    from runai_core.model.assets import EnvironmentSpec
    from runai_core.model.spec import WorkloadSpec

    wire.decode(EnvironmentSpec, asset.spec)
    wire.decode(WorkloadSpec, fields_of(asset, lambda uid: uid, serves=True))
