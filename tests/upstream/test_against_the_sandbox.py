"""The clients and the pretend cloud, over real HTTP: each understands the other, and its faults do no harm."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import pytest
import requests

from partnerportal.sandbox import seed
from partnerportal.upstream.avepoint import AvePoint, fetch_token
from partnerportal.upstream.errors import (
    Broken,
    Conflict,
    Forbidden,
    NotFound,
    Refused,
    SignInAgain,
    Throttled,
    Unintelligible,
    Unreachable,
    UpstreamError,
)
from partnerportal.upstream.gdap_api import GdapApi
from partnerportal.upstream.graph import Graph
from partnerportal.upstream.http import Secret, budget
from partnerportal.upstream.partner_center import CustomerRow, NewUser, PartnerCenter
from partnerportal.upstream.tokens import GRAPH_SCOPES, PARTNER_CENTER_SCOPES, TokenClient, app_only_partner_center

from .conftest import customer_pages

PARTNER = "7d0f4c1e-52a9-4f6b-8e3d-91c2b7a64f05"


def enter(persona: str) -> TokenClient:
    """Sign in as Entra's page lets one."""
    client = TokenClient()
    flow = client.start_flow("http://127.0.0.1:8000/signin/callback/", GRAPH_SCOPES)
    chosen = requests.post(flow["auth_uri"], data={"persona": persona}, allow_redirects=False, timeout=10)
    result = client.finish_flow(flow, dict(parse_qsl(urlsplit(chosen.headers["Location"]).query)))
    assert "error" not in result, result
    return client


def partner_center(persona: str) -> PartnerCenter:
    return PartnerCenter(enter(persona).silent(PARTNER_CENTER_SCOPES))


def graph_of(persona: str) -> Graph:
    return Graph(enter(persona).silent(GRAPH_SCOPES))


@pytest.fixture
def admin(sandbox: Any) -> PartnerCenter:
    return partner_center("admin")


@pytest.fixture
def customers(admin: PartnerCenter) -> list[CustomerRow]:
    return [row for page in customer_pages(admin) for row in page]


@pytest.fixture
def home(admin: PartnerCenter, customers: list[CustomerRow]) -> str:
    """A customer in which admin may do everything."""
    for row in customers:
        try:
            if len(admin.users(row.id, size=25).users) > 3:
                return row.id
        except UpstreamError:
            continue
    raise AssertionError("the demo has no such customer")


def new_user(domain: str) -> NewUser:
    return NewUser(
        user_principal_name=f"maya.{uuid4().hex[:8]}@{domain}",
        display_name="Maya Lind",
        first_name="Maya",
        usage_location="SE",
        password=Secret("Correct-Horse-7-Battery"),
    )


def test_a_user_from_the_cradle_to_the_grave_and_back(admin: PartnerCenter, home: str) -> None:
    new = new_user(admin.customer(home).domain)
    op = uuid4()
    created = admin.create_user(home, new, request_id=op)
    assert created.user is not None
    assert created.request_id == str(op)
    assert created.user.user_principal_name == new.user_principal_name
    key = created.user.id
    again = admin.create_user(home, new, request_id=op)
    assert again.user == created.user
    with pytest.raises(Conflict):
        admin.create_user(home, new, request_id=uuid4())
    admin.update_user(home, key, {"last_name": "Lindgren", "phone_number": "+46 8 1"}, request_id=uuid4())
    read = admin.user(home, key)
    assert (read.last_name, read.first_name, read.phone_number) == ("Lindgren", "Maya", "+46 8 1")
    admin.reset_password(home, key, Secret("Another-Horse-8"), force_change=True, request_id=uuid4())
    assert admin.delete_user(home, key, request_id=uuid4()).user is None
    with pytest.raises(NotFound):
        admin.user(home, key)
    assert key in {user.id for page in admin.all_users(home, deleted=True) for user in page.users}
    restored = admin.restore_user(home, key, request_id=uuid4())
    assert restored.user is not None
    assert not restored.user.is_deleted


CONTOSO, PEOPLE = seed.SPECIAL["contoso"], seed.SPECIAL_USERS


def test_units_follow_a_licence_from_one_user_to_another(admin: PartnerCenter) -> None:
    kim, adele = PEOPLE["duplicate_a"], PEOPLE["plain"]
    (reports,) = [sku for sku in admin.subscribed_skus(CONTOSO) if sku.part_number == "POWER_BI_PRO"]
    assert reports.none_left
    with pytest.raises(Refused) as refused:
        admin.update_licences(CONTOSO, kim, assign=[reports.id], request_id=uuid4())
    assert refused.value.code == "60012"
    admin.update_licences(CONTOSO, adele, remove=[reports.id], request_id=uuid4())
    op = uuid4()
    receipts = [admin.update_licences(CONTOSO, kim, assign=[reports.id], request_id=op) for _ in range(2)]
    assert receipts[0] == replace(receipts[1], correlation_id=receipts[0].correlation_id)
    assert reports.id in {licence.sku_id for licence in admin.licences(CONTOSO, kim)}
    assert reports in admin.subscribed_skus(CONTOSO)
    admin.delete_user(CONTOSO, kim, request_id=uuid4())
    (freed,) = [sku for sku in admin.subscribed_skus(CONTOSO) if sku.id == reports.id]
    assert (freed.consumed, freed.available) == (1, 1)


def test_a_customer_without_licences_and_one_with_both_groups(admin: PartnerCenter) -> None:
    assert admin.subscribed_skus(seed.SPECIAL["one_user"]) == ()
    skus = admin.subscribed_skus(CONTOSO)
    assert {sku.group for sku in skus} == {"group1", "group2"}
    assert {sku.status for sku in skus} == {"Enabled", "Suspended"}
    both = [sku.id for sku in skus if sku.part_number in ("EMS", "MEE_FACULTY")]
    with pytest.raises(Refused) as refused:
        admin.update_licences(CONTOSO, PEOPLE["duplicate_a"], assign=both, request_id=uuid4())
    assert refused.value.code == "3000"


def test_an_administrator_is_known_by_the_directory_roles(admin: PartnerCenter) -> None:
    lead = admin.directory_roles(CONTOSO, PEOPLE["duplicate_a"])
    assert [(role.name, role.administers) for role in lead] == [("Global Administrator", True)]
    assert admin.directory_roles(CONTOSO, PEOPLE["plain"]) == ()


def test_a_name_that_was_given_away_stands_in_the_way_of_a_restore(sandbox: Any, admin: PartnerCenter) -> None:
    for conflict in (True, False):
        sandbox.assume("restore_conflict_409", conflict)
        with pytest.raises(Conflict):
            admin.restore_user(CONTOSO, PEOPLE["deleted_reused"], request_id=uuid4())
    sandbox.state("set_clock_offset", seconds=31 * 86400)
    with pytest.raises(NotFound):
        partner_center("admin").restore_user(CONTOSO, PEOPLE["deleted"], request_id=uuid4())


def test_who_writes_the_directory_may_give_licences_but_neither_delete_nor_reset(sandbox: Any) -> None:
    writer, adele = partner_center("writer"), PEOPLE["plain"]
    (security,) = [sku for sku in writer.subscribed_skus(CONTOSO) if sku.part_number == "EMS"]
    assert writer.update_licences(CONTOSO, adele, assign=[security.id], request_id=uuid4()).status == 201
    for write in (
        lambda: writer.delete_user(CONTOSO, adele, request_id=uuid4()),
        lambda: writer.reset_password(CONTOSO, adele, Secret("Zebra-47-cloud"), force_change=True, request_id=uuid4()),
    ):
        with pytest.raises(Forbidden) as forbidden:
            write()
        assert forbidden.value.code == "900308"


@pytest.mark.parametrize("where", ["both", "links", "body"])
@pytest.mark.parametrize("prefix", ["/v1", ""])
def test_pages_come_whole_wherever_their_token_stands(
    sandbox: Any, admin: PartnerCenter, home: str, where: str, prefix: str
) -> None:
    whole = [user.id for page in admin.all_users(home) for user in page.users]
    sandbox.assume("continuation_in", where)
    sandbox.assume("link_prefix", prefix)
    found, after = [], None
    while True:
        page = admin.users(home, size=max(1, len(whole) // 3), after=after)
        found += [user.id for user in page.users]
        if page.next is None:
            break
        after = page.next
    assert sorted(found) == sorted(whole)
    assert len(found) == len(set(found))


def test_the_order_is_that_which_was_asked_for(admin: PartnerCenter, home: str) -> None:
    up = [user.id for user in admin.users(home, size=500).users]
    down = [user.id for user in admin.users(home, size=500, descending=True).users]
    assert len(up) > 3
    assert down == up[::-1]


def test_the_lists_hold_nothing_that_we_cannot_read(admin: PartnerCenter, customers: list[CustomerRow]) -> None:
    assert len(customers) > 50
    assert admin.quarantined == 0
    assert [row for page in customer_pages(PartnerCenter(app_only_partner_center())) for row in page] == customers


def test_what_graph_says_of_an_admin_and_of_an_outsider(sandbox: Any, home: str) -> None:
    graph = graph_of("admin")
    relationships = graph.relationships(home)
    assert relationships
    assert {one.tenant_id for one in relationships} == {home}
    assert len(graph.relationships(top=7)) > 7
    active = [one.id for one in graph.relationships(status="active")]
    assignments = graph.assignments(active)
    assert len(active) > 20
    assert set(assignments) == set(active)
    groups = {one.group_id for many in assignments.values() for one in many}
    mine = graph.transitive_groups()
    assert groups & mine.keys()
    names = graph.group_names(groups)
    assert set(names) == groups
    assert {group: names[group] for group in groups & mine.keys()} == {
        group: name for group, name in mine.items() if group in groups
    }
    outsider = graph_of("outsider")
    assert outsider.relationships(home) == ()
    assert not outsider.any_relationship()


def test_avepoint_and_the_gdap_api(sandbox: Any) -> None:
    client = AvePoint(fetch_token())
    whole = [row for page in customer_pages(client) for row in page]
    assert len(whole) > 20
    sandbox.assume("avepoint_paging", 7)
    assert [row for page in customer_pages(client) for row in page] == whole
    api = GdapApi()
    assert "synchronized" in api.synchronize(PARTNER, "maya@partner.example")
    assert isinstance(api.customers(PARTNER), tuple)


def test_the_cloud_says_no_in_the_right_words(sandbox: Any, home: str, customers: list[CustomerRow]) -> None:
    outsider = partner_center("outsider")
    with pytest.raises(Forbidden) as forbidden:
        outsider.users(home)
    assert forbidden.value.code
    with pytest.raises(Refused) as wrong:
        PartnerCenter(enter("admin").silent(GRAPH_SCOPES)).users(home)
    assert (wrong.value.code, wrong.value.our_fault) == ("900420", True)
    assert not isinstance(wrong.value, SignInAgain)
    with pytest.raises(Refused):
        partner_center("admin").customer(str(uuid4()))


Ask = Callable[[PartnerCenter, str], object]


def read(client: PartnerCenter, home: str) -> object:
    return client.users(home)


def write(client: PartnerCenter, home: str) -> object:
    return client.create_user(home, new_user(client.customer(home).domain), request_id=uuid4())


@pytest.mark.parametrize(
    ("fault", "kind", "ambiguous"),
    [
        ({"kind": "html"}, Unintelligible, True),
        ({"kind": "html", "status": 502}, Broken, True),
        ({"kind": "bad_json"}, Unintelligible, True),
        ({"kind": "empty"}, Unintelligible, True),
        ({"kind": "huge", "megabytes": 30}, Unintelligible, True),
        ({"kind": "huge", "megabytes": 60, "gzip": True}, Unintelligible, True),
        ({"kind": "deep"}, Unintelligible, True),
        ({"kind": "truncate"}, Unreachable, True),
        ({"kind": "truncate", "honest": True}, Unintelligible, True),
        ({"kind": "drop_before"}, Unreachable, True),
        ({"kind": "drop_after"}, Unreachable, True),
        ({"kind": "fail_after"}, Broken, True),
        ({"kind": "status", "status": 500}, Broken, True),
        ({"kind": "status", "status": 429, "headers": {"Retry-After": "60"}}, Throttled, False),
        ({"kind": "bare_string"}, Forbidden, False),
        ({"kind": "expired_token"}, SignInAgain, False),
        ({"kind": "slow", "seconds": 5}, Unreachable, True),
        ({"kind": "drip", "seconds": 0.1}, Unreachable, True),
    ],
    ids=lambda value: "-".join(str(part) for part in value.values()) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize(("method", "ask"), [("GET", read), ("POST", write)])
def test_a_fault_of_the_cloud_is_one_of_our_errors(
    sandbox: Any,
    admin: PartnerCenter,
    home: str,
    no_waiting: list[float],
    fault: dict[str, Any],
    kind: type[UpstreamError],
    ambiguous: bool,
    method: str,
    ask: Ask,
) -> None:
    sandbox.fault("partnercenter", method=method, path=r"/users$", times=0, **fault)
    began = time.monotonic()
    with pytest.raises(kind) as caught, budget(1.5 if fault["kind"] in ("slow", "drip") else 15):
        ask(admin, home)
    assert type(caught.value) is kind
    assert caught.value.ambiguous is ambiguous
    assert fault["kind"] == "huge" or time.monotonic() - began < 5
    asked = sandbox.journal("partnercenter", method)
    assert method == "GET" or len([line for line in asked if line["path"].endswith("/users")]) == 1


@pytest.mark.parametrize("fault", [{"kind": "no_bom"}, {"kind": "repeat_items"}, {"kind": "status", "status": 503}])
def test_a_small_fault_goes_unnoticed(
    sandbox: Any,
    admin: PartnerCenter,
    customers: list[CustomerRow],
    no_waiting: list[float],
    fault: dict[str, Any],
) -> None:
    sandbox.fault("partnercenter", path=r"/customers$", **fault)
    assert [*dict.fromkeys(row for page in customer_pages(admin) for row in page)] == customers


@pytest.mark.parametrize("fresh", [False, True])
def test_a_list_that_never_ends_is_stopped(sandbox: Any, admin: PartnerCenter, settings: Any, fresh: bool) -> None:
    settings.CUSTOMER_PAGE_LIMIT = 6
    sandbox.fault("partnercenter", "loop", path=r"/customers$", times=0, fresh=fresh)
    with pytest.raises(Unintelligible):
        list(customer_pages(admin))
    assert len(sandbox.journal("partnercenter")) <= 6


def test_entra_lets_go_of_an_operator_and_says_why(sandbox: Any) -> None:
    client = enter("admin")
    sandbox.state("revoke_refresh_token", persona="admin")
    with pytest.raises(SignInAgain) as caught:
        client.silent(PARTNER_CENTER_SCOPES)
    assert caught.value.code.startswith("AADSTS")
    client = enter("reader")
    sandbox.state("require_mfa", on=True)
    with pytest.raises(SignInAgain) as caught:
        PartnerCenter(client.silent(PARTNER_CENTER_SCOPES)).users(PARTNER)
    assert caught.value.code in ("AADSTS50076", "900421")
    assert "second factor" in str(caught.value)
