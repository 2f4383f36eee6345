"""Secrets of assets on their way to a cluster: each side keeps them sealed, with a key that does not leave it.

In between they are in the open for the two ends alone: a link is TLS, or it
does not leave the machine.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from runai_core.model.assets import Asset
from runai_core.model.errors import Unavailable
from runai_core.service.secrets import SECRET_MEMBERS, Vault

log = logging.getLogger(__name__)


def opened(vault: Vault, asset: Asset) -> Asset:
    """Return an asset with its secret members among the others; without them where they cannot be opened here."""
    if not asset.sealed:
        return asset
    try:
        secret = vault.open(asset.meta.name, asset.sealed)
    except Unavailable as error:
        log.warning("clusters are not told the secrets of %s %s: %s", asset.kind, asset.title, error.message)
        secret = {}
    return replace(asset, sealed="", spec={**asset.spec, **secret})


def sealed(vault: Vault, asset: Asset, kept: Asset | None) -> Asset:
    """Return an asset as it is kept here; what was not told, or is the same, stays sealed as it is."""
    names = SECRET_MEMBERS.get(asset.kind, ())
    secret = {name: asset.spec[name] for name in names if name in asset.spec}
    public = {name: value for name, value in asset.spec.items() if name not in secret}
    before = kept.sealed if kept is not None else ""
    if (not secret and asset.keys) or (before and _opened(vault, kept) == secret):
        return replace(asset, spec=public, sealed=before)
    return replace(asset, spec=public, sealed=vault.seal(asset.meta.name, secret) if secret else "")


def _opened(vault: Vault, asset: Asset | None) -> Mapping[str, Any]:
    try:
        return vault.open(asset.meta.name, asset.sealed) if asset is not None else {}
    except Unavailable:
        return {}
