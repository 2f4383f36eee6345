"""Where the API on a cluster answers, and who may ask it."""

from typing import Any, cast

import pytest

from runai_core.backends.kubernetes.api import Api
from runai_core.model.errors import NotFound, Unavailable
from runai_core.operator.connecting import address_of, credentials_of

Object = dict[str, Any]


class Cluster:
    """An API server with one service and some pods."""

    server = "https://cluster.example"

    def __init__(self, service: Object | None = None, pods: tuple[Object, ...] = ()) -> None:
        self.service = service
        self.pods = pods

    async def get(self, _resource: object, name: str, _namespace: str) -> Object:
        if self.service is None:
            raise NotFound(f"there is no {name}")
        return self.service

    async def list(self, _resource: object, _namespace: str, *, labels: str) -> tuple[list[Object], str]:
        assert "app.kubernetes.io/component=api" in labels
        return list(self.pods), "1"


def a_service(*ingress: Object, port: int = 80) -> Object:
    return {"spec": {"ports": [{"port": port}]}, "status": {"loadBalancer": {"ingress": list(ingress)}}}


ADDRESSES = [
    pytest.param(a_service({"hostname": "runai.example"}), "http://runai.example", id="a name"),
    pytest.param(a_service({"ip": "10.1.2.3"}), "http://10.1.2.3", id="an address"),
    pytest.param(a_service({"ip": "10.1.2.3"}, port=8080), "http://10.1.2.3:8080", id="another port"),
    pytest.param(a_service(), "", id="no load balancer"),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("service", "expected"), ADDRESSES)
async def test_the_address_is_the_load_balancers(service: Object, expected: str) -> None:
    assert await address_of(cast("Api", Cluster(service)), "runai") == expected


@pytest.mark.asyncio
async def test_a_cluster_without_us_is_named() -> None:
    with pytest.raises(NotFound, match=r"no service runai-api in namespace work of https://cluster\.example"):
        await address_of(cast("Api", Cluster()), "work")


@pytest.mark.asyncio
async def test_an_api_that_is_not_ready_has_no_account_yet() -> None:
    starting = {"metadata": {"name": "api-0"}, "status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    with pytest.raises(Unavailable, match="no pod of the API is ready in namespace runai"):
        await credentials_of(cast("Api", Cluster(pods=(starting,))), "runai")
