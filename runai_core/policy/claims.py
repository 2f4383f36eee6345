"""What administrators say of a storage class, laid over a new claim: its defaults, and what is wrong with it."""

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace

from runai_core.model.errors import FieldError
from runai_core.model.meta import to_camel
from runai_core.model.resources import parse_quantity
from runai_core.model.storage import (
    UNITS,
    ClaimSizeRule,
    StorageClassConfiguration,
    StorageCustomization,
    StoragePermissions,
)
from runai_core.model.volumes import AccessModes, ClaimInfo

__all__ = ["check_claim", "check_configuration", "completed"]


def completed(claim: ClaimInfo, configuration: StorageClassConfiguration) -> ClaimInfo:
    """Return the claim with the defaults of its class for what it does not say."""
    rules = configuration.customization
    size = None if rules.claim_size is None else rules.claim_size.default
    modes = None if rules.access_mode is None else rules.access_mode.default
    volume_mode = None if rules.volume_mode is None else rules.volume_mode.default
    return replace(
        claim,
        size=claim.size or size,
        access_modes=claim.access_modes if _chosen(claim.access_modes) else modes or claim.access_modes,
        volume_mode=claim.volume_mode or volume_mode,
    )


def check_claim(
    claim: ClaimInfo,
    configuration: StorageClassConfiguration,
    at: str,
    *,
    ephemeral: bool,
    shared: bool,
    users: str = "workloads",
) -> Iterator[FieldError]:
    """Yield what is wrong with a new claim of the class; `users` are who asks for it: workloads or assets."""
    yield from _forbidden(configuration, at, ephemeral=ephemeral, shared=shared, users=users)
    rules = configuration.customization
    yield from _access_modes(claim, rules, f"{at}.accessModes")
    yield from _volume_mode(claim, rules, f"{at}.volumeMode")
    if rules.claim_size is not None and claim.size:
        yield from _size(claim.size, rules.claim_size, f"{at}.size")


def check_configuration(rules: StorageCustomization) -> Iterator[FieldError]:
    """Yield what is wrong with the rules themselves: sizes that cannot be read, or that contradict each other."""
    if (size := rules.claim_size) is None:
        return
    at = "customization.claimSize"
    for name in ("default", "min", "max"):
        text = getattr(size, name)
        if text is not None:
            parse_quantity(text, f"{at}.{name}")
    for index, unit in enumerate(size.supported_units or ()):
        if unit not in UNITS:
            yield FieldError(f"{at}.supportedUnits.{index}", f"must be one of {', '.join(UNITS)}", unit[:80])
    if size.min is not None and size.max is not None and parse_quantity(size.min) > parse_quantity(size.max):
        yield FieldError(f"{at}.max", f"must be at least the min, {size.min}", size.max)
    if size.default is not None:
        yield from _size(size.default, size, f"{at}.default")


def _forbidden(
    configuration: StorageClassConfiguration, at: str, *, ephemeral: bool, shared: bool, users: str
) -> Iterator[FieldError]:
    allowed, given = configuration.permissions, configuration.storage_class
    wanted = {f"allowed_for_{users}": f"new claims of {users}"}
    wanted |= {"allowed_for_ephemeral_volumes": "claims that go with their workload"} if ephemeral else {}
    wanted |= {"allowed_for_persistent_volumes": "claims that outlive their workload"} if not ephemeral else {}
    wanted |= {"allow_data_sharing": "claims that are shared"} if shared else {}
    for member in fields(StoragePermissions):
        if member.name in wanted and getattr(allowed, member.name) is False:
            yield FieldError(f"{at}.storageClass", f"is not for {wanted[member.name]}: choose another class", given)


def _access_modes(claim: ClaimInfo, rules: StorageCustomization, at: str) -> Iterator[FieldError]:
    if (rule := rules.access_mode) is None:
        return
    chosen = _chosen(claim.access_modes)
    if rule.required and not chosen:
        yield FieldError(at, "is required for claims of this class")
    allowed = [name for name in _NAMES if rule.supported_values is None or _may(rule.supported_values, name)]
    for name in chosen:
        if name not in allowed:
            has = ", ".join(map(to_camel, allowed)) or "none"
            yield FieldError(f"{at}.{to_camel(name)}", f"is not for claims of this class; allowed are: {has}", True)  # noqa: FBT003


def _volume_mode(claim: ClaimInfo, rules: StorageCustomization, at: str) -> Iterator[FieldError]:
    if (rule := rules.volume_mode) is None:
        return
    if rule.required and not claim.volume_mode:
        yield FieldError(at, "is required for claims of this class")
    if claim.volume_mode and rule.supported_values is not None:
        name = claim.volume_mode.lower()
        if getattr(rule.supported_values, name, None) is False:
            yield FieldError(at, "is not for claims of this class", claim.volume_mode)


def _size(text: str, rule: ClaimSizeRule, at: str) -> Iterator[FieldError]:
    amount = parse_quantity(text, at)
    if rule.min is not None and amount < parse_quantity(rule.min):
        yield FieldError(at, f"must be at least {rule.min} in this class", text)
    if rule.max is not None and amount > parse_quantity(rule.max):
        yield FieldError(at, f"must be at most {rule.max} in this class", text)
    unit = text.lstrip("0123456789.").removesuffix("B") + "B"
    if rule.supported_units and unit not in rule.supported_units:
        yield FieldError(at, f"must be in {', '.join(rule.supported_units)}", text)


_NAMES: Sequence[str] = tuple(member.name for member in fields(AccessModes))


def _chosen(modes: AccessModes | None) -> list[str]:
    return [] if modes is None else [name for name in _NAMES if getattr(modes, name)]


def _may(modes: AccessModes, name: str) -> bool:
    return getattr(modes, name) is not False
