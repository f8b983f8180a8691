"""Go to customer: what is found, in which order, and what each person is shown."""

import uuid
from datetime import timedelta

import pytest

from customers import favourites, goto
from customers.models import Customer, Favourite, GdapGrant, Visit
from partnerportal import audit, clock
from partnerportal.models import AuditEvent, Operator
from partnerportal.sandbox import seed
from tests.customers.rows import gdap_was_read
from tests.pages import Page

GO = "/go/"


@pytest.fixture
def reader(signed_in, snapshot):
    """A signed-in browser, with the customers in the database."""
    return signed_in("reader")


@pytest.fixture
def by(reader):
    return Operator.objects.get()


def customer(key):
    return Customer.objects.get(tenant_id=seed.SPECIAL[key])


def users_page(key):
    return f"/customers/{seed.SPECIAL[key]}/users/"


def found(text, by):
    """The names of the options, in order."""
    return ["".join(piece for piece, _ in hit.name) for group in goto.find(text, by=by) for hit in group.hits]


def opened(browser, text):
    """Where Enter leads."""
    answer = browser.get(GO, {"q": text, "open": "1"})
    return answer["Location"] if answer.status_code == 302 else answer.status_code


# --- What is found ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("cont", "contoso"),
        ("  NORTHWIND  foods ", "medium"),
        ("cajovna uber", "accents"),
        ("l'ete", "accents"),
        ("النخيل", "rtl"),
        ("o'neil", "quotes"),
        ("=hyper", "formula"),
        (seed.SPECIAL["pc_only"], "pc_only"),
        (seed.SPECIAL["medium"].upper(), "medium"),
        ("contosotrading.onmicrosoft.example", "contoso"),
        ("Adele.Vance@contosotrading.onmicrosoft.example", "contoso"),
    ],
)
def test_what_people_type_or_paste_opens_its_customer(reader, text, key):
    assert opened(reader, text) == users_page(key)


def test_a_user_name_finds_the_customer_whose_users_have_that_domain(reader, by):
    known = customer("contoso")
    known.seen_domains = {"brand-of-contoso.example": ""}
    known.save()
    assert opened(reader, "maya@brand-of-contoso.example") == users_page("contoso")


def test_names_that_begin_so_come_first_then_the_others_each_by_name(by):
    names = found("co", by)
    begin = [name for name in names if name.lower().startswith("co")]
    assert begin == sorted(begin, key=str.lower)
    assert names[: len(begin)] == begin
    assert len(names) == goto.MOST


def test_an_exact_domain_comes_before_names_that_begin_so(by):
    proseware = customer("none")
    proseware.name = proseware.sort_name = "contosotrading.onmicrosoft.example and more"
    proseware.save()
    assert found("contosotrading.onmicrosoft.example", by)[0] == "Contoso Trading"


def test_two_of_one_name_are_told_apart_by_domain_and_access(reader, by):
    GdapGrant.objects.create(tenant_id=seed.SPECIAL["duplicate_a"], group_id="mine", level=GdapGrant.Level.EDIT)
    Operator.objects.update(groups=["mine"], groups_read_at=clock.now())
    gdap_was_read()
    name = customer("duplicate_a").name
    hits = [link for link in Page(reader.get(GO, {"q": name})).links if link.href.endswith("/users/")]
    words = {link.href: link.words.replace(" ", "") for link in hits}
    one, two = customer("duplicate_a"), customer("duplicate_b")
    assert words[users_page("duplicate_a")] == f"{name}{one.domain}Edit users".replace(" ", "")
    assert words[users_page("duplicate_b")] == f"{name}{two.domain}None".replace(" ", "")
    assert one.domain != two.domain


def test_two_of_one_name_that_only_avepoint_knows_are_told_apart_by_country_and_owner(reader):
    by_name = {}
    for one in Customer.objects.filter(tenant_id=None, listed=True):
        by_name.setdefault(one.name, []).append(one)
    name, same = next((name, found) for name, found in by_name.items() if len(found) > 1)
    words = [link.words for link in Page(reader.get(GO, {"q": name})).links if link.href.startswith("/customers/ap-")]
    assert len(set(words)) == len(same)
    for one in same:
        note = f"{one.source_words}, {one.country}, {one.owner_email}"
        assert note.replace(" ", "") in "".join(words).replace(" ", "")


def test_a_customer_that_no_source_lists_any_more_is_not_found(by):
    favourites.keep(customer("contoso"), by=by)
    Customer.objects.filter(tenant_id=seed.SPECIAL["contoso"]).update(listed=False)
    assert found("contoso", by) == found("", by) == []


def test_nothing_found_is_said_and_opens_nothing(reader):
    assert opened(reader, "vinyard") == 200
    assert "Nothing matches “vinyard”" in Page(reader.get(GO, {"q": "vinyard"})).words
    assert "Nothing matches “vinyard”" in Page(reader.htmx("get", GO, {"q": "vinyard"})).words
    assert opened(reader, "\x00") == 200


@pytest.mark.parametrize("text", ["", "co", "contoso trading", "vinyard", seed.SPECIAL["medium"], "a@contoso.example"])
def test_five_queries_at_most_and_no_upstream(reader, sandbox, text, django_assert_max_num_queries):
    for key in ("contoso", "medium"):
        reader.get(users_page(key))
    reader.get(GO)
    before = len(sandbox.journal())
    with django_assert_max_num_queries(5):
        reader.htmx("get", GO, {"q": text})
    assert len(sandbox.journal()) == before


# --- What matches, in bold ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words", "bold"),
    [
        ("Contoso Trading", ["cont"], "[Cont]oso Trading"),
        ("Contoso Trading", ["trad", "cont"], "[Cont]oso [Trad]ing"),
        ("Übergröße", ["gross"], "Über[größ]e"),
        ("E\u0301te\u0301 e\u0301", ["et"], "[E\u0301t]e\u0301 e\u0301"),
        ("banana", ["an"], "b[anan]a"),
        ("Ærø", ["ae"], "[Æ]rø"),
        ("plain", [], "plain"),
        ("", ["a"], ""),
    ],
)
def test_what_matches_is_bold_and_nothing_is_lost(text, words, bold):
    cut = goto.pieces(text, words)
    assert "".join(piece for piece, _ in cut) == text
    assert "".join(f"[{piece}]" if same else piece for piece, same in cut) == bold


def test_names_that_break_careless_pages_stay_text(reader):
    for answer in (reader.get(GO, {"q": "script"}), reader.htmx("get", GO, {"q": "script"})):
        assert "&lt;<b>script</b>&gt;alert(" in answer.content.decode()
        assert "<script>alert" not in answer.content.decode()


def test_htmx_gets_options_of_a_listbox(reader):
    part = Page(reader.htmx("get", GO, {"q": "contoso t"}))
    option = part.attributes(role="option")
    assert option["href"] == users_page("contoso")
    assert (option["aria-selected"], option["tabindex"], option["id"]) == ("true", "-1", "go-1-1")
    assert "<html" not in part.html
    assert "1 to choose from" in part.words


def test_the_option_that_enter_opens_is_marked_and_no_other(reader):
    tags = Page(reader.htmx("get", GO, {"q": "co"})).tags
    selected = [told["aria-selected"] for _, told in tags if told.get("role") == "option"]
    assert selected == ["true", *["false"] * 7]
    [first] = [told["href"] for _, told in tags if told.get("aria-selected") == "true"]
    assert opened(reader, "co") == first


# --- Ids of requests ----------------------------------------------------------------------------------------


def entry(actor, **result):
    """An attempt of somebody in the trail; its intent."""
    subject = audit.Subject(action="create user", customer_name="Contoso Trading", target_name="Maya Lind")
    attempt = audit.intend(subject, by=actor)
    audit.conclude(attempt, subject, audit.Result(outcome="done", **result), by=actor)
    return AuditEvent.objects.get(attempt=attempt, kind="intent")


@pytest.mark.parametrize("name", ["upstream_request_id", "correlation_id"])
def test_a_request_id_opens_its_audit_entry(reader, by, name):
    request_id = str(uuid.uuid4())
    mine = entry(by, **{name: request_id})
    assert opened(reader, request_id) == f"/audit/{mine.pk}/"
    assert found(request_id.upper(), by) == ["Create user: Maya Lind"]


def test_our_own_request_id_does_too(reader, by):
    answer = reader.post("/signout/")
    event = AuditEvent.objects.filter(kind="intent").first()
    assert event.request_id == answer["X-Request-ID"]
    assert goto.find(answer["X-Request-ID"], by=by)[0].hits[0].url == f"/audit/{event.pk}/"
    assert goto.find(str(uuid.UUID(event.request_id)), by=by)[0].hits[0].url == f"/audit/{event.pk}/"


def test_an_entry_of_somebody_else_is_for_admins(reader, cast, by):
    request_id = str(uuid.uuid4())
    theirs = entry(cast("writer"), correlation_id=request_id)
    assert opened(reader, request_id) == 200
    assert goto.find(request_id, by=cast("admin"))[0].hits[0].url == f"/audit/{theirs.pk}/"


# --- At hand ------------------------------------------------------------------------------------------------


def test_a_customer_that_was_opened_stands_on_top_next_time(reader, by):
    for key in ("contoso", "medium", "contoso"):
        reader.get(users_page(key))
    assert found("", by) == ["Contoso Trading", "Northwind Foods"]
    assert Visit.objects.filter(operator=by).count() == 2


def test_turning_a_page_is_no_visit(reader, by):
    reader.htmx("get", users_page("contoso"))
    assert not Visit.objects.exists()


def test_the_newest_twenty_visits_of_each_person_are_kept(by, cast):
    other = cast("writer")
    everybody = list(Customer.objects.order_by("pk")[:23])
    favourites.visited(everybody[0], by=other)
    for visited in everybody:
        favourites.visited(visited, by=by)
    kept = Visit.objects.filter(operator=by).order_by("-at", "-pk")
    assert [visit.customer_id for visit in kept] == [one.pk for one in reversed(everybody[3:])]
    assert Visit.objects.filter(operator=other).count() == 1


def test_five_recent_ones_then_favourites_by_name_eight_in_all(by):
    for key in ("contoso", "medium", "big", "expired", "none", "ceiling"):
        favourites.visited(customer(key), by=by)
        Visit.objects.update(at=clock.now() - timedelta(hours=1))
    liked = ("readonly", "pending", "contoso", "union", "one_user", "none")
    for key in liked:
        favourites.keep(customer(key), by=by)
    recent, starred = goto.find("", by=by)
    assert (recent.label, len(recent.hits), starred.label, len(starred.hits)) == ("Opened last", 5, "Favourites", 3)
    assert sorted(found("", by)[5:]) == found("", by)[5:]
    assert len(set(found("", by))) == 8


def test_a_star_is_toggled_and_is_ones_own(reader, by, signed_in):
    url = f"/customers/{seed.SPECIAL['contoso']}/favourite/"
    assert Page(reader.get(users_page("contoso"))).attributes(id="star-button")["aria-pressed"] == "false"
    part = Page(reader.htmx("post", url, {"on": "1"}))
    assert part.attributes(id="star-button")["aria-pressed"] == "true"
    assert part.form("on").fields["on"] == "0"
    reader.htmx("post", url, {"on": "1"})
    assert Favourite.objects.count() == 1
    assert Page(reader.get(users_page("contoso"))).attributes(id="star-button")["aria-pressed"] == "true"
    other = signed_in("admin")
    assert Page(other.get(users_page("contoso"))).attributes(id="star-button")["aria-pressed"] == "false"
    assert reader.post(url, {"on": "0"})["Location"] == users_page("contoso")
    assert not Favourite.objects.exists()
