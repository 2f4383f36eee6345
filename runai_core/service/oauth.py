"""The forms of OAuth 2 that are used here, as authlib writes them; it has no types, so that they end in this module."""

from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request  # type: ignore[import-untyped]
from authlib.oauth2.rfc7636 import create_s256_code_challenge  # type: ignore[import-untyped]


def challenge_of(verifier: str) -> str:
    """Return the S256 challenge of a verifier (RFC 7636, section 4.2)."""
    return str(create_s256_code_challenge(verifier))


def authorization_url(endpoint: str, client_id: str, **parameters: str) -> str:
    """Return where a browser is sent to get a code (RFC 6749, section 4.1.1)."""
    return str(prepare_grant_uri(endpoint, client_id, "code", **parameters))


def code_form(**parameters: str) -> str:
    """Return the form with which a code is exchanged for tokens (RFC 6749, section 4.1.3)."""
    return str(prepare_token_request("authorization_code", **parameters))
