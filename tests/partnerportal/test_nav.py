"""What stands around every page."""

from datetime import timedelta

import pytest

from customers.models import Source, SourceName
from partnerportal import clock
from tests.pages import Page


def rail(browser, path="/audit/"):
    return {item.label: item.current for item in browser.get(path).context["nav"]}


@pytest.mark.parametrize(
    ("persona", "items"),
    [
        ("reader", ["Overview", "Customers", "GDAP", "Audit trail"]),
        ("writer", ["Overview", "Customers", "Onboarding", "GDAP", "Audit trail"]),
        ("admin", ["Overview", "Customers", "Onboarding", "GDAP", "GDAP sync", "Audit trail"]),
    ],
)
def test_the_rail_shows_what_one_may_open(signed_in, persona, items):
    assert list(rail(signed_in(persona))) == items


def test_the_rail_knows_where_one_is(signed_in):
    assert rail(signed_in("admin"))["Audit trail"]
    assert not rail(signed_in("admin"))["Customers"]


def test_the_overview_is_current_on_its_own_page_only(signed_in):
    assert [label for label, current in rail(signed_in("admin"), "/").items() if current] == ["Overview"]
    assert not rail(signed_in("admin"))["Overview"]


def test_strangers_see_no_rail(visitor):
    page = visitor.get("/signout/")
    assert page.context["operator"] is None
    assert "Audit trail" not in page.content.decode()
    assert "Sandbox" in page.content.decode()


def test_the_age_of_each_source(signed_in):
    Source.objects.create(name=SourceName.PARTNER_CENTER, last_good_at=clock.now() - timedelta(hours=2))
    Source.objects.create(name=SourceName.AVEPOINT)
    page = signed_in("reader").get("/audit/")
    first, second = page.context["freshness"]()
    assert (first.label, first.stale) == ("Partner Center", True)
    assert (second.label, second.at, second.words) == ("AvePoint", None, "not loaded yet")
    assert "not loaded yet" in page.content.decode()


def test_a_source_that_does_not_answer_is_not_called_fresh(signed_in):
    Source.objects.create(name=SourceName.AVEPOINT, last_good_at=clock.now(), problem="AvePoint answered 503.")
    short = {"problem": "Listed 3 customers …", "short_rows": 3}
    Source.objects.create(name=SourceName.PARTNER_CENTER, last_good_at=clock.now(), **short)
    words = Page(signed_in("reader").get("/audit/")).words
    assert "Partner Centerjust now" in words
    assert "AvePointnot answering Our copyjust now" in words
