"""What all processes of a cluster have in common: made once, taken by everybody, never written over."""

import base64
import json
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from runai_core.backends.kubernetes.resources import SECRETS
from runai_core.model.errors import AlreadyExists, Unavailable
from runai_core.operator.install.names import IDENTITY_SECRET, SECRETS_KEY_SECRET
from runai_core.operator.shared import share
from runai_core.service.secrets import Vault
from runai_core.settings import Settings
from tests.kubernetes_world import FakeApi, StillWorld

NAMESPACE = "runai"


class Cluster(FakeApi):
    """Keeps the Secrets that are created."""

    async def create(self, resource, body, namespace=""):  # type: ignore[no-untyped-def]
        if self.world.crd(resource).get(body["metadata"]["name"], body["metadata"]["namespace"]) is not None:
            raise AlreadyExists("it is there")
        await super().create(resource, body, body["metadata"]["namespace"])
        return self.world.put(resource, body)


@pytest.fixture
def api() -> Cluster:
    return Cluster(StillWorld())


def an_operator(folder: Path) -> Settings:
    return Settings(data_dir=folder, backend="kubernetes", role="operator")


def content(api: Cluster, secret: str, file: str) -> str:
    item = api.world.crd(SECRETS).get(secret, NAMESPACE)
    assert item is not None
    return base64.b64decode(item["data"][file]).decode()


@pytest.mark.asyncio
async def test_the_first_operator_makes_what_all_share(api: Cluster, tmp_path: Path) -> None:
    await share(api, an_operator(tmp_path), NAMESPACE)  # type: ignore[arg-type]

    assert json.loads(content(api, IDENTITY_SECRET, "identity.json"))["signing_key"]
    Fernet(content(api, SECRETS_KEY_SECRET, "secrets.key").strip())


@pytest.mark.asyncio
async def test_what_one_process_seals_another_opens(api: Cluster, tmp_path: Path) -> None:
    first, second = an_operator(tmp_path / "a"), an_operator(tmp_path / "b")

    await share(api, first, NAMESPACE)  # type: ignore[arg-type]
    await share(api, second, NAMESPACE)  # type: ignore[arg-type]

    sealed = Vault(first.secrets_key).seal("wandb", {"password": "p"})
    assert Vault(second.secrets_key).open("wandb", sealed) == {"password": "p"}
    assert first.secrets_key.stat().st_mode & 0o777 == 0o600
    assert len(api.sent("secrets")) == 2, "made once"


@pytest.mark.asyncio
async def test_an_operator_that_was_here_before_the_secret_gives_the_keys_that_it_has(
    api: Cluster, tmp_path: Path
) -> None:
    """Records of an older version were sealed with them."""
    settings = an_operator(tmp_path)
    sealed = Vault(settings.secrets_key).seal("wandb", {"password": "p"})

    await share(api, settings, NAMESPACE)  # type: ignore[arg-type]

    assert content(api, SECRETS_KEY_SECRET, "secrets.key") == settings.secrets_key.read_text()
    assert Vault(settings.secrets_key).open("wandb", sealed) == {"password": "p"}


@pytest.mark.asyncio
async def test_the_faster_of_two_first_operators_counts(api: Cluster, tmp_path: Path) -> None:
    slow, fast = an_operator(tmp_path / "slow"), an_operator(tmp_path / "fast")
    await share(api, fast, NAMESPACE)  # type: ignore[arg-type]
    missed = iter((True, True))
    present = api.get

    async def late(resource, name, namespace=""):  # type: ignore[no-untyped-def]
        if next(missed, False):
            from runai_core.model.errors import NotFound

            raise NotFound("not there yet")
        return await present(resource, name, namespace)

    api.get = late  # type: ignore[method-assign]
    await share(api, slow, NAMESPACE)  # type: ignore[arg-type]

    assert slow.secrets_key.read_text() == fast.secrets_key.read_text()


@pytest.mark.asyncio
async def test_a_key_file_that_was_chosen_by_hand_is_left_alone(api: Cluster, tmp_path: Path) -> None:
    own = tmp_path / "own.key"
    settings = Settings(data_dir=tmp_path / "data", backend="kubernetes", role="operator", secrets_key_file=own)

    await share(api, settings, NAMESPACE)  # type: ignore[arg-type]

    assert not own.exists()
    assert api.world.crd(SECRETS).get(SECRETS_KEY_SECRET, NAMESPACE) is None


@pytest.mark.asyncio
@pytest.mark.parametrize("kept", ["", "no key", "\n"], ids=["nothing", "another text", "an empty line"])
async def test_a_damaged_key_is_named_and_nothing_is_written_over(api: Cluster, tmp_path: Path, kept: str) -> None:
    data = {"secrets.key": base64.b64encode(kept.encode()).decode()} if kept else {}
    body = {"metadata": {"name": SECRETS_KEY_SECRET, "namespace": NAMESPACE}, "data": data}
    api.world.put(SECRETS, body)

    with pytest.raises(Unavailable, match="Secret runai-secrets-key in namespace runai is damaged"):
        await share(api, an_operator(tmp_path), NAMESPACE)  # type: ignore[arg-type]

    assert api.world.crd(SECRETS).get(SECRETS_KEY_SECRET, NAMESPACE) == body
