"""The seed: the same every time, nobody real, and every awkward case of CONTRACT's sandbox requirements 5 to 7."""

from __future__ import annotations

import ast
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from partnerportal import sandbox
from partnerportal.sandbox import seed
from partnerportal.sandbox.cloud import Cloud
from partnerportal.sandbox.directory import World

from .conftest import Asker, parsed

NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture(scope="module")
def world() -> World:
    return seed.build("demo", NOW)


def test_it_is_the_same_every_time(world: World) -> None:
    again = seed.build("demo", NOW)
    assert list(again.customers) == list(world.customers)
    assert [row.told_id for row in again.avepoint] == [row.told_id for row in world.avepoint]
    assert again.relationships == world.relationships
    big = seed.SPECIAL["medium"]
    assert again.customers[big].directory.users == world.customers[big].directory.users


def test_every_domain_and_address_ends_in_example(world: World) -> None:
    for customer in world.customers.values():
        assert all(domain.endswith(".example") for domain in customer.domains)
        assert all(user.upn.endswith(".example") for user in customer.directory.users.values())
    assert all(row.owner_email.endswith(".example") for row in world.avepoint)


def test_sizes_are_as_promised(world: World) -> None:
    count = {key: len(world.customers[seed.SPECIAL[key]].directory.users) for key in seed.SPECIAL_NAMES}
    assert (count["big"], count["medium"], count["no_users"], count["one_user"]) == (10_000, 1_200, 0, 1)
    assert 30 <= count["contoso"] <= 60
    assert 55 <= len(world.customers) <= 70


def test_awkward_people_are_at_contoso(world: World) -> None:
    users = world.customers[seed.SPECIAL["contoso"]].directory.users
    people = {key: users[user_id] for key, user_id in seed.SPECIAL_USERS.items()}
    assert "<script>" in people["script"].display_name
    assert any("\u0600" <= char <= "\u06ff" for char in people["rtl"].display_name)
    assert people["no_location"].usage_location == ""
    assert people["synced"].synced_at
    assert people["federated"].domain_type == "federated"
    assert people["deleted"].deleted_at
    assert len(people["long_upn"].upn.partition("@")[0]) == 64
    assert len(people["very_long"].display_name) > 200
    assert not people["no_names"].first_name


def test_writer_edits_the_first_plain_customers_by_name(world: World) -> None:
    cloud = Cloud("demo")
    oid = seed.PERSONA_OIDS["writer"]
    plain = sorted((c for c in world.customers.values() if c.id not in seed.SPECIAL.values()), key=lambda c: c.name)
    edits = [seed.ROLE["Directory Writers"] in cloud.roles(oid, customer.id) for customer in plain]
    assert edits == [index < seed.WRITER_CUSTOMERS for index in range(len(plain))]
    for key in seed.WRITER_EXTRA:
        assert seed.ROLE["Directory Writers"] in cloud.roles(oid, seed.SPECIAL[key]), key


def test_no_user_name_is_taken_twice_among_the_living(world: World) -> None:
    for customer in world.customers.values():
        names = [user.upn.lower() for user in customer.directory.users.values() if not user.deleted_at]
        assert len(names) == len(set(names))


def test_large_has_twenty_thousand_and_is_quick(asker: Asker) -> None:
    asker.control("POST", "reset", {"profile": "large"})
    try:
        assert len(asker.sandbox.cloud.world.customers) == 20_000
        headers: dict[str, str] = {}
        seen: set[str] = set()
        while True:
            response = asker.partner_center("GET", "/customers?size=500&seekOperation=Next", headers=headers)
            body = parsed(response)
            seen |= {customer["id"] for customer in body["items"]}
            if "continuationToken" not in body:
                break
            headers = {"MS-ContinuationToken": body["continuationToken"]}
        assert len(seen) == 20_000
    finally:
        asker.control("POST", "reset", {"profile": "demo"})


def test_the_sandbox_imports_nothing_of_ours_and_little_else() -> None:
    allowed = set(sys.stdlib_module_names) | {"jwt", "cryptography"}
    for path in Path(sandbox.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            assert {name.partition(".")[0] for name in names} <= allowed, path
