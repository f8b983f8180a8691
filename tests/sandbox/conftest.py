"""A sandbox for these tests, asked over real HTTP, and planted anew for each test."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from partnerportal.sandbox import seed
from partnerportal.sandbox.server import RunningSandbox, running_sandbox

PREFIX = {"partnercenter": "partnercenter", "graph": "graph/v1.0", "avepoint": "avepoint", "gdap": "gdap/api"}


def parsed(response: requests.Response) -> Any:
    """JSON from bytes: `requests` itself stumbles over Partner Center's byte order mark."""
    return json.loads(response.content.decode("utf-8-sig"))


class Asker:
    """Asks the sandbox directly, as one of the personas."""

    def __init__(self, sandbox: RunningSandbox, session: requests.Session) -> None:
        self.sandbox, self.session, self.url = sandbox, session, sandbox.url

    def ask(
        self,
        service: str,
        method: str,
        path: str,
        *,
        by: str = "admin",
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> requests.Response:
        bearer = {"Authorization": f"Bearer sandbox:{by}:{service}"} if by else {}
        url = f"{self.url}/_/{PREFIX[service]}{path}"
        kept: dict[str, Any] = {"allow_redirects": False, "timeout": 20, **more}
        return self.session.request(method, url, headers={**bearer, **(headers or {})}, **kept)

    def partner_center(self, method: str, path: str, **more: Any) -> requests.Response:
        return self.ask("partnercenter", method, f"/v1{path}", **more)

    def graph(self, method: str, path: str, **more: Any) -> requests.Response:
        return self.ask("graph", method, path, **more)

    def control(self, method: str, path: str, payload: Any = None) -> requests.Response:
        return self.session.request(method, f"{self.url}/_sandbox/{path}", json=payload, timeout=20)

    def state(self, op: str, **fields: Any) -> Any:
        response = self.control("POST", "state", {"op": op, **fields})
        assert response.status_code == 200, response.text
        return response.json()

    def assume(self, name: str, value: Any) -> None:
        self.state("assume", name=name, value=value)

    def fault(self, **spec: Any) -> None:
        response = self.control("POST", "faults", [spec])
        assert response.status_code == 200, response.text

    def journal(self, after: int = 0) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.control("GET", f"journal?after={after}").json()
        return found

    def users(self, customer: str, *, by: str = "admin", **params: Any) -> requests.Response:
        return self.partner_center("GET", f"/customers/{seed.SPECIAL[customer]}/users", by=by, params=params)

    def every_user(self, customer: str, *, by: str = "admin", **params: Any) -> list[dict[str, Any]]:
        """All pages, with the token where it belongs."""
        path = f"/customers/{seed.SPECIAL[customer]}/users"
        found: list[dict[str, Any]] = []
        headers: dict[str, str] = {}
        seen: set[str] = set()
        while True:
            response = self.partner_center("GET", path, by=by, params=params, headers=headers)
            assert response.status_code == 200, response.text
            body = parsed(response)
            found += body["items"]
            if "next" not in body["links"]:
                return found
            token = body["links"]["next"]["headers"][0]["value"]
            assert token not in seen
            seen.add(token)
            headers, params = {"MS-ContinuationToken": token}, {"seekOperation": "Next"}

    def create(
        self, customer: str, name: str, *, by: str = "admin", request_id: str = "", **fields: Any
    ) -> requests.Response:
        body = {
            "userPrincipalName": f"{name}@{domain_of(customer)}",
            "displayName": name.title(),
            "firstName": name.title(),
            "usageLocation": "NL",
            "passwordProfile": {"password": "Zebra-4711-cloud", "forceChangePassword": True},
            "attributes": {"objectType": "CustomerUser"},
            **fields,
        }
        headers = {"MS-RequestId": request_id or str(uuid.uuid4())}
        path = f"/customers/{seed.SPECIAL[customer]}/users"
        return self.partner_center("POST", path, by=by, json=body, headers=headers)

    def patch(
        self, customer: str, user_id: str, *, by: str = "admin", suffix: str = "", **fields: Any
    ) -> requests.Response:
        path = f"/customers/{seed.SPECIAL[customer]}/users/{user_id}{suffix}"
        return self.partner_center("PATCH", path, by=by, json={**fields, "attributes": {"objectType": "CustomerUser"}})


def domain_of(customer: str) -> str:
    domains = {"contoso": "contosotrading.onmicrosoft.example", "medium": "northwindfoods.onmicrosoft.example"}
    return domains.get(customer, "other.example")


@pytest.fixture(scope="session")
def running() -> Iterator[RunningSandbox]:
    with running_sandbox(profile="demo") as sandbox:
        yield sandbox


@pytest.fixture
def asker(running: RunningSandbox) -> Iterator[Asker]:
    running.cloud.reset("demo")
    running.faults.clear()
    running.journal.clear()
    with requests.Session() as session:
        session.trust_env = False
        yield Asker(running, session)
