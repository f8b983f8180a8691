"""Crafted requests: no call for a foreign tenant, no write without a right, nobody's token for somebody else."""

import random
import uuid
from functools import partial

import pytest

from partnerportal.sandbox import seed
from tests.pages import Page
from users.models import Operation

from .conftest import MAYA, new_url, newcomer, reviewed, tenant, users_url
from .test_create import at_once, same_browser

REQUESTS = 150
NO_TENANTS = ("..", "%2e%2e", "null", "ap-x", "1 or 1=1", "'--", "ÿ", "contoso%00", "customers")


def test_random_tampered_requests_reach_no_foreign_tenant_and_change_nothing(signed_in, snapshot, sandbox, directory):
    """TRUST G6, in small: `nested` has a right at one customer alone, and tries everything everywhere."""
    dice = random.Random(20261122)
    admin, nested = signed_in("admin"), signed_in("nested")
    ours = [tenant(key) for key in ("contoso", "medium", "readonly", "none", "expired")]
    foreign = [tenant("not_ours"), *(str(uuid.UUID(int=dice.getrandbits(128))) for _ in range(3))]
    people = [*seed.SPECIAL_USERS.values(), *list(directory.users("medium"))[:5], str(uuid.uuid4()), "0", "..", "*"]
    cursor = Page(admin.get(users_url("medium"))).href("page-next").partition("cursor=")[2]
    theirs = newcomer(admin)
    admin.post(new_url(), theirs)
    form = reviewed(admin, seed.SPECIAL_USERS["plain"], first_name="Adela")
    before = len(directory.writes())
    statuses = set()
    for _ in range(REQUESTS):
        key = dice.choice([*ours, *foreign, *NO_TENANTS])
        path = f"/customers/{key}/users/" + dice.choice(
            [
                "",
                f"?cursor={cursor}&size={dice.choice([25, 200, -1])}",
                "new/",
                f"new/?like={dice.choice(people)}",
                f"{dice.choice(people)}/",
                f"{dice.choice(people)}/edit/",
                f"operations/{theirs['op_id']}/",
                f"operations/{uuid.uuid4()}/",
            ]
        )
        data = dict(dice.choice([theirs, form, MAYA, {}]))
        for name in dice.sample(sorted({*data, "op_id", "step"}), k=1):
            data[name] = dice.choice(
                ["", "save", "send", "check", "done", "theirs", "\x00", "9" * 300, str(uuid.uuid4())]
            )
        answer = dice.choice([nested.get, nested.post])(path, data)
        statuses.add(answer.status_code)
        assert answer.status_code in (200, 302, 400, 403, 404, 405, 409, 422), (path, answer.status_code)
    assert {403, 404} <= statuses
    called = {line["path"].split("/")[3] for line in sandbox.journal("partnercenter") if "/customers/" in line["path"]}
    assert called <= set(ours)
    assert len(directory.writes()) == before
    assert Operation.objects.filter(by__oid=seed.PERSONA_OIDS["nested"]).count() == 0
    assert Operation.objects.get(op_id=theirs["op_id"]).has_password


@pytest.mark.django_db(transaction=True)
def test_many_at_once_are_each_served_with_their_own_token(signed_in, snapshot, sandbox, directory):
    """TRUST T11: no cache, thread or context of one operator serves another."""
    people = {"admin": "big", "writer": "contoso", "nested": "nested_only", "reader": "medium", "outsider": "contoso"}
    browsers = {persona: signed_in(persona) for persona in people}
    forms = {persona: newcomer(browsers[persona], people[persona]) for persona in ("admin", "writer", "nested")}
    sandbox.running.journal.clear()
    calls = []
    for persona, customer in people.items():
        asks = [("get", users_url(customer), None)] * 3
        if persona in forms:
            asks.append(("post", new_url(customer), forms[persona]))
        calls += [partial(getattr(same_browser(browsers[persona]), how), url, data) for how, url, data in asks]
    answers = at_once(*calls)
    assert {answer.status_code for answer in answers[-3:]} == {403}  # the outsider
    assert {answer.status_code for answer in answers[:-3]} == {200}
    asked = {(line["persona"], line["path"].split("/")[3]) for line in sandbox.journal("partnercenter")}
    assert asked == {(persona, tenant(customer)) for persona, customer in people.items()}
    graph = {line["persona"] for line in sandbox.journal("graph")}
    assert graph == set(people)
    assert {line["persona"] for line in directory.writes()} == set(forms)
