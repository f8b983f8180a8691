"""The page of the sources: how well each is known, the sync under way, and what a short list asks a Portal.Admin."""

from datetime import timedelta

import pytest

from customers import merge, staging, sync
from customers.models import Customer, GdapSync, Source, SourceName, SourceRow, StagedRow, SyncRun
from customers.views.sources import Health
from partnerportal import clock
from partnerportal.models import AuditEvent
from partnerportal.upstream.paging import Stretch
from tests.pages import Page

pytestmark = pytest.mark.django_db

LISTS = {"partnercenter": r"^/v1/customers$", "avepoint": r"^/partner/customers$"}


def words(browser, path="/sources/"):
    return Page(browser.get(path)).words


def row_of(browser, label):
    """The markup of one upstream's row."""
    html = browser.get("/sources/").content.decode()
    [row] = [part for part in html.split("<tr ") if f'scope="row">{label}</th>' in part]
    return row.split("</tr>")[0]


def foot(browser, path):
    """The ages of the sources below the rail."""
    html = browser.get(path).content.decode()
    return Page(html[html.index('id="freshness">') + len('id="freshness">') :].split("</section>")[0]).words


def known(source):
    return SourceRow.objects.filter(source=source, gone_at=None).count()


# --- What the page says --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (59.97, "1 min 0 s"), (83.4, "1 min 23 s"), (119.7, "2 min 0 s")],
)
def test_what_it_took_has_no_sixtieth_second(seconds, words):
    assert Health("avepoint", "AvePoint", source=Source(name="avepoint", took=seconds)).took == words


def test_each_upstream_says_when_it_last_answered_how_long_it_took_and_with_how_many_rows(sandbox, signed_in):
    sync.sync_now()
    Source.objects.filter(pk="avepoint").update(took=83.4, last_good_at=clock.now() - timedelta(minutes=72))
    browser = signed_in("reader")
    row = row_of(browser, "AvePoint")
    assert "1 h 12 min old" in row
    assert "1 min 23 s" in row
    assert f"{len(sandbox.running.cloud.world.avepoint)}</td>" in row
    assert Source.objects.get(pk="partner_center").took < 60
    fresh = row_of(browser, "Partner Center")  # whose time says already how old it is
    assert ">just now</time>" in fresh
    assert " old<" not in fresh


def test_the_next_try_is_a_quarter_of_an_hour_after_the_last(snapshot, signed_in, settings):
    row = row_of(signed_in("reader"), "Partner Center")
    due = SyncRun.objects.get().created_at + settings.SYNC_EVERY
    assert "About <time" in row
    assert f"{due:%H:%M}</time>" in row


def test_a_clock_that_should_have_started_a_sync_and_did_not_is_said(snapshot, signed_in, move_clock):
    move_clock(3600)
    assert "As soon as the worker runs" in words(signed_in("reader"))


def test_the_last_error_stands_in_words_beside_the_source_that_made_it(snapshot, sandbox, signed_in):
    sandbox.fault("avepoint", "status", status=503, times=0)
    sync.sync_now()
    browser = signed_in("reader")
    assert "AvePoint has a fault of its own (503)." in row_of(browser, "AvePoint")
    assert "fault of its own" not in row_of(browser, "Partner Center")


def test_rows_that_were_left_out_are_counted(snapshot, sandbox, signed_in):
    sandbox.fault("partnercenter", "null_items", times=0, path=LISTS["partnercenter"])
    sync.sync_now()
    left_out = Source.objects.get(pk="partner_center").quarantined
    assert left_out > 10
    assert f"</svg>{left_out}</span>" in row_of(signed_in("reader"), "Partner Center")


def test_what_is_not_configured_says_what_it_wants(snapshot, settings, signed_in):
    settings.AVEPOINT_CLIENT_ID = settings.GDAP_API_USERNAME = ""
    browser = signed_in("reader")
    assert "Not configured. Set AVEPOINT_CLIENT_ID" in row_of(browser, "AvePoint")
    assert "Not configured. Set GDAP_API_TOKEN" in row_of(browser, "GDAP API")
    assert "Try now" not in row_of(browser, "AvePoint")


@pytest.mark.parametrize("path", ["/customers/", "/audit/", "/"])
def test_the_foot_of_the_rail_tells_of_no_source_that_is_asked_no_more(snapshot, settings, signed_in, path):
    browser = signed_in("reader")
    assert foot(browser, path).startswith("Data sources Partner Center")
    assert "AvePoint" in foot(browser, path)
    settings.AVEPOINT_CLIENT_ID = ""
    assert "Partner Center" in foot(browser, path)
    assert "AvePoint" not in foot(browser, path)


def test_the_gdap_relationships_have_a_row_before_anybody_read_them(snapshot, signed_in):
    row = row_of(signed_in("reader"), "GDAP")
    assert "Not read yet" in row
    assert "while somebody inside Admin agents is here" in row


def test_the_gdap_api_shows_its_last_refusal(snapshot, cast, signed_in):
    admin = cast("admin")
    GdapSync.objects.create(
        op_id="11111111-1111-4111-8111-111111111111", by=admin, email="m@x.example", state=GdapSync.State.REFUSED,
        message="The GDAP API did not accept the portal's sign-in.", open=None,
    )  # fmt: skip
    row = row_of(signed_in("reader"), "GDAP API")
    assert "Not asked yet" in row
    assert "did not accept" in row


def test_a_list_that_only_people_may_read_says_that_somebody_must_press(sandbox, signed_in):
    sandbox.assume("app_only_customers", "403")
    sync.sync_now()
    assert "When somebody presses Try now" in row_of(signed_in("reader"), "Partner Center")


def test_try_now_starts_a_sync_and_comes_back(snapshot, signed_in):
    browser = signed_in("reader")
    answer = browser.post("/customers/refresh/", {"back": "sources"})
    assert (answer.status_code, answer["Location"]) == (303, "/sources/")
    assert SyncRun.objects.get(open=True).requested_by.email
    page = words(browser)
    assert "A sync is waiting for the worker since" in page
    assert "Try now" not in row_of(browser, "Partner Center")


def test_the_foot_of_the_rail_leads_here(snapshot, signed_in):
    assert Page(signed_in("reader").get("/audit/")).href("Data sources") == "/sources/"


# --- A sync under way ----------------------------------------------------------------------------------------


@pytest.fixture
def under_way(snapshot, cast):
    """A run of `reader`'s that a worker holds."""
    run, _ = sync.request_sync(by=cast("reader"))
    held = SyncRun.claim(run.pk)
    assert held is not None
    seen = Stretch(b"", 1, (merge.Seen("11111111-1111-4111-8111-111111111111", "X", "Half a list"),))
    walk = sync.Walk(staging.RollCall(SourceName.AVEPOINT), lambda walk: iter(()), rows=1500, pages=3)
    sync._store(held, [(walk, [seen])], [walk])
    return held


def test_progress_says_rows_pages_and_since_when(under_way, signed_in):
    page = words(signed_in("reader"))
    assert "A sync is under way since" in page
    assert "1,500 rows on 3 pages so far." in page
    assert "asked for by Ines Halloran" in page


def test_ones_own_sync_can_be_cancelled_and_changes_nothing(under_way, signed_in):
    before = list(Customer.objects.order_by("pk").values())
    browser = signed_in("reader")
    form = Page(browser.get("/sources/")).form("run")
    assert form.action == "/sources/cancel/"
    assert form.buttons["Cancel sync"] == ("run", str(under_way.pk))
    answer = browser.post("/sources/cancel/", {"run": under_way.pk}, follow=True)
    assert "The sync was cancelled. Nothing was changed." in Page(answer).words
    assert "cancelled just now by Ines Halloran" in Page(answer).words
    run = SyncRun.objects.get(pk=under_way.pk)
    assert (run.state, run.open, run.cancelled_by.name) == (SyncRun.State.CANCELLED, None, "Ines Halloran")
    assert not StagedRow.objects.exists()
    with pytest.raises(sync.LeaseLost):
        sync._finish(under_way, [sync.Walk(staging.RollCall(SourceName.AVEPOINT), lambda walk: iter(()))])
    with pytest.raises(sync.LeaseLost):
        sync._store(under_way, [], [])
    assert list(Customer.objects.order_by("pk").values()) == before
    assert AuditEvent.objects.filter(action="sync cancelled", actor_name="Ines Halloran", kind="outcome").count() == 1


def test_the_sync_line_of_the_list_leads_to_where_it_can_be_cancelled(under_way, signed_in):
    browser = signed_in("reader")
    assert Page(browser.get("/customers/")).href("sync is under way") == "/sources/"
    answer = browser.post("/sources/cancel/", {"run": under_way.pk})
    assert answer["Location"] == "/sources/"
    assert Page(browser.get("/customers/")).href("sync is under way") == ""


def test_somebody_elses_sync_is_for_a_portal_admin_to_cancel(under_way, signed_in):
    writer = signed_in("writer")
    assert "Cancel sync" not in words(writer)
    refused = writer.post("/sources/cancel/", {"run": under_way.pk})
    assert refused.status_code == 403
    assert "Portal.Admin" in refused.content.decode()
    assert SyncRun.objects.get(pk=under_way.pk).open
    signed_in("admin").post("/sources/cancel/", {"run": under_way.pk})
    assert SyncRun.objects.get(pk=under_way.pk).cancelled_by.name == "Maya Okafor"


@pytest.mark.parametrize("run", ["", "x", "999999", "9" * 40, "²"])
def test_cancelling_a_sync_that_is_over_or_never_was_says_so(snapshot, signed_in, run):
    answer = signed_in("admin").post("/sources/cancel/", {"run": run}, follow=True)
    assert answer.status_code == 200
    assert "That sync had ended before." in Page(answer).words
    assert not AuditEvent.objects.filter(action="sync cancelled").exists()


def test_a_sync_that_is_over_is_not_cancelled_afterwards(snapshot, cast):
    run = SyncRun.objects.get()
    assert not sync.cancel(run, by=cast("admin"))
    assert SyncRun.objects.get().state == SyncRun.State.DONE


# --- Far fewer than before -----------------------------------------------------------------------------------


@pytest.fixture
def short(snapshot, sandbox):
    """AvePoint lists a fifth of what it listed; a sync has met that. Returns how many it knows, and found."""
    before = known("avepoint")
    sandbox.state("hide_customers", source="avepoint", fraction=0.8)
    assert sync.sync_now().state == SyncRun.State.FAILED
    return before, Source.objects.get(pk="avepoint").short_rows


def test_a_short_list_changes_nothing_and_asks_a_portal_admin(short, signed_in):
    before, found = short
    assert 0 < found < before / 2
    assert (known("avepoint"), SourceRow.objects.exclude(missing_since=None).count()) == (before, 0)
    sentence = f"AvePoint listed {found} customers where we know {before}. Is that right?"
    admin, reader = words(signed_in("admin")), words(signed_in("reader"))
    assert sentence in admin
    assert sentence in reader
    assert "It is right, take them away" in admin
    assert "It is right, take them away" not in reader
    listed = words(signed_in("reader"), "/customers/")
    assert "AvePoint lists far fewer customers than before." in listed
    assert "is not answering" not in listed


def test_only_a_portal_admin_answers(short, signed_in):
    data = {"source": "avepoint", "rows": short[1], "answer": "accept"}
    assert signed_in("writer").post("/sources/answer/", data).status_code == 403
    assert Source.objects.get(pk="avepoint").accepted_rows is None


def test_what_was_called_right_is_believed_once_and_leaves_with_the_walk_after_it(short, signed_in):
    before, found = short
    browser = signed_in("admin")
    page = browser.post("/sources/answer/", {"source": "avepoint", "rows": found, "answer": "accept"}, follow=True)
    assert f"Maya Okafor has said that {found} customers of AvePoint are right." in Page(page).words
    entry = AuditEvent.objects.get(action="few customers accepted", kind="outcome")
    assert (entry.actor_name, entry.target_name, entry.fields) == ("Maya Okafor", "AvePoint", {"rows": [before, found]})
    run = SyncRun.objects.get(open=True)  # it is asked for at once
    assert run.requested_by.name == "Maya Okafor"

    sync.carry_out(run.pk)
    source = Source.objects.get(pk="avepoint")
    assert (source.problem, source.rows) == ("", found)
    assert (source.short_rows, source.accepted_rows, source.accepted_by, source.accepted_at) == (None,) * 4
    assert (known("avepoint"), SourceRow.objects.exclude(missing_since=None).count()) == (before, before - found)
    assert "Is that right?" not in words(browser)

    sync.sync_now()  # the second complete walk that agrees
    assert known("avepoint") == found
    assert Customer.objects.filter(listed=False).exists()


def test_an_acceptance_does_not_cover_a_list_that_shrinks_further(short, sandbox, signed_in):
    before, found = short
    browser = signed_in("admin")
    browser.post("/sources/answer/", {"source": "avepoint", "rows": found, "answer": "accept"})
    sandbox.state("hide_customers", source="avepoint", fraction=0.97)
    sync.carry_out(SyncRun.objects.get(open=True).pk)
    source = Source.objects.get(pk="avepoint")
    assert source.problem
    assert source.accepted_rows == found
    assert source.short_rows < found * 0.9
    assert known("avepoint") == before
    assert not SourceRow.objects.exclude(missing_since=None).exists()


def test_an_acceptance_can_be_taken_back_until_it_was_used(short, signed_in):
    before, found = short
    browser = signed_in("admin")
    browser.post("/sources/answer/", {"source": "avepoint", "rows": found, "answer": "accept"})
    page = browser.post("/sources/answer/", {"source": "avepoint", "rows": found, "answer": "wait"}, follow=True)
    assert "Is that right?" in Page(page).words
    assert AuditEvent.objects.filter(action="few customers not accepted", kind="outcome").count() == 1
    sync.carry_out(SyncRun.objects.get(open=True).pk)
    assert known("avepoint") == before
    assert not SourceRow.objects.exclude(missing_since=None).exists()


@pytest.mark.parametrize("change", [{"rows": "1"}, {"rows": "x"}, {"rows": "9" * 30}, {"source": "partner_center"}])
def test_an_answer_to_another_question_decides_nothing(short, signed_in, change):
    data = {"source": "avepoint", "rows": short[1], "answer": "accept"} | change
    page = signed_in("admin").post("/sources/answer/", data, follow=True)
    assert "The question has changed meanwhile. Nothing was decided." in Page(page).words
    assert not Source.objects.exclude(accepted_rows=None).exists()


def test_there_is_no_question_about_a_source_that_is_none(short, signed_in):
    for name in ("gdap", "nobody", ""):
        assert signed_in("admin").post("/sources/answer/", {"source": name, "answer": "accept"}).status_code == 404


def test_there_is_no_question_about_a_source_that_is_asked_no_more(short, settings, signed_in):
    settings.AVEPOINT_CLIENT_ID = ""
    browser = signed_in("admin")
    assert "Is that right?" not in words(browser)
    assert "far fewer" not in words(browser, "/")
    settings.AVEPOINT_CLIENT_ID = "again"
    assert "Is that right?" in words(browser)


def test_a_list_that_is_whole_again_clears_the_question(short, sandbox, signed_in):
    sandbox.state("hide_customers", source="avepoint", fraction=0)
    assert sync.sync_now().state == SyncRun.State.DONE
    assert Source.objects.get(pk="avepoint").short_rows is None
    assert "Is that right?" not in words(signed_in("admin"))
    assert not SourceRow.objects.exclude(missing_since=None).exists()
