"""The bearer token of a request, renewed with the service account's secret when it has run out."""

from collections.abc import Generator

import httpx

from runai_core.client.environment import Connection
from runai_core.client.requests import API


class BearerAuth(httpx.Auth):
    """Adds the token; asks for a new one when there is none, or when the server no longer takes it."""

    requires_response_body = True

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.token = connection.token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Yield the request, and once more with a new token if the first was refused."""
        if not self.token and self._renewable:
            self._keep((yield self._token_request()))
        request.headers["Authorization"] = f"Bearer {self.token}"
        response = yield request
        if response.status_code == httpx.codes.UNAUTHORIZED and self._renewable:
            self._keep((yield self._token_request()))
            request.headers["Authorization"] = f"Bearer {self.token}"
            yield request

    @property
    def _renewable(self) -> bool:
        return bool(self._connection.client_id and self._connection.client_secret)

    def _token_request(self) -> httpx.Request:
        body = {
            "grantType": "client_credentials",
            "clientID": self._connection.client_id,
            "clientSecret": self._connection.client_secret,
        }
        return httpx.Request("POST", f"{self._connection.url}{API}/token", json=body)

    def _keep(self, response: httpx.Response) -> None:
        if response.is_success:
            self.token = str(response.json().get("accessToken", ""))
