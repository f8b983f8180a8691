"""A sync from the first page to the swap: what a bad walk must not do, who may carry a run out, and how often."""

import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection

from customers import merge, staging, sync, tasks
from customers.models import Customer, Source, SourceName, SourceRow, StagedRow, SyncRun
from partnerportal import clock
from partnerportal.celery import transport_options
from partnerportal.models import TokenCache
from partnerportal.upstream import avepoint, partner_center
from partnerportal.upstream import tokens as upstream_tokens
from partnerportal.upstream.paging import Stretch
from tests.pages import Page

pytestmark = pytest.mark.django_db

LISTS = {"partnercenter": r"^/v1/customers$", "avepoint": r"^/partner/customers$"}
OTHER = {"partnercenter": SourceName.AVEPOINT, "avepoint": SourceName.PARTNER_CENTER}
NAMES = {"partnercenter": SourceName.PARTNER_CENTER, "avepoint": SourceName.AVEPOINT}


def everything():
    """All that the list shows, to compare."""
    return list(Customer.objects.order_by("pk").values())


def lists_asked(sandbox, service="partnercenter"):
    return [line for line in sandbox.journal(service, "GET") if line["path"] == "/v1/customers"]


def audiences(sandbox):
    """Who asked for Partner Center's customers, in order."""
    return [line["persona"] for line in lists_asked(sandbox)]


# --- A walk that did not come whole --------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["partnercenter", "avepoint"])
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 503, "headers": {"Retry-After": "3600"}},
        {"kind": "throttle", "per_second": 0, "retry_after": 57},
        {"kind": "html"},
        {"kind": "html", "status": 502},
        {"kind": "bad_json"},
        {"kind": "bad_json", "body": '{"totalCount":0}'},
        {"kind": "bad_json", "body": '{"items":{},"value":"none"}'},
        {"kind": "truncate"},
        {"kind": "truncate", "honest": True},
        {"kind": "empty"},
        {"kind": "status", "status": 204},
        {"kind": "status", "status": 302, "headers": {"Location": "https://evil.example/"}},
        {"kind": "drop_before"},
        {"kind": "drop_after"},
        {"kind": "loop"},
        {"kind": "deep"},
        {"kind": "huge", "megabytes": 25, "gzip": True},
        {"kind": "bare_string", "status": 200},
        {
            "kind": "bad_json",
            "body": '{"value":[{"id":"x"}],"items":[{"id":"6d6a4f4e-0d1c-4b7e-8a53-0a8b8c3c1f11"}],'
            '"@odata.nextLink":"https://[","links":{"next":{"uri":"https://[","headers":[]}}}',
        },
        {"kind": "bad_json", "body": '{"items":[{"name":"?"}],"value":[{"name":"?"}]}'},
    ],
    ids=lambda fault: "-".join(str(value) for value in fault.values()),
)
def test_a_failed_walk_changes_nothing_of_its_source_and_is_remembered(snapshot, sandbox, service, fault):
    before, good_at = everything(), Source.objects.get(pk=NAMES[service]).last_good_at
    sandbox.fault(service, times=0, path=LISTS[service], **fault)
    run = sync.sync_now()
    assert run.state == SyncRun.State.FAILED
    assert everything() == before
    source = Source.objects.get(pk=NAMES[service])
    assert source.problem
    assert (source.last_good_at, source.last_tried_at > good_at) == (good_at, True)
    assert Source.objects.get(pk=OTHER[service]).problem == ""
    assert Source.objects.get(pk=OTHER[service]).last_good_at > good_at


@pytest.mark.parametrize("service", ["partnercenter", "avepoint"])
@pytest.mark.parametrize("fault", [{"kind": "slow", "seconds": 4}, {"kind": "drip", "seconds": 0.2}])
def test_a_source_that_takes_for_ever_is_left_after_the_budget(snapshot, sandbox, settings, service, fault):
    settings.UPSTREAM_BUDGET = 1.0
    before = everything()
    sandbox.fault(service, times=0, path=LISTS[service], **fault)
    started = time.monotonic()
    sync.sync_now()
    assert time.monotonic() - started < 4
    assert everything() == before
    assert "did not answer in 1 second" in Source.objects.get(pk=NAMES[service]).problem


def test_a_list_without_end_is_left_after_so_many_pages(snapshot, sandbox, settings):
    settings.CUSTOMER_PAGE_LIMIT = 5
    before = everything()
    sandbox.fault("partnercenter", "loop", fresh=True, times=0, path=LISTS["partnercenter"])
    sync.sync_now()
    assert everything() == before
    assert Source.objects.get(pk="partner_center").problem
    assert len(lists_asked(sandbox)) == 5


def test_a_list_that_takes_too_long_in_all_is_left(snapshot, sandbox, monkeypatch):
    monkeypatch.setattr(sync, "LONGEST_WALK", 0.0)
    before = everything()
    assert sync.sync_now().state == SyncRun.State.FAILED
    assert everything() == before
    assert Source.objects.get(pk="avepoint").problem == "AvePoint did not come to the end of its list in time."


def test_the_longest_sync_is_over_before_a_broker_gives_its_message_to_somebody_else():
    redis = transport_options("redis://", Path())["visibility_timeout"]
    rabbitmq = 30 * 60  # its consumer_timeout
    assert sync.LONGEST_WALK + 5 * 60 <= rabbitmq < redis  # and five minutes for the swap


@pytest.mark.parametrize("status", [400, 410])
def test_a_continuation_that_is_refused_in_mid_list_keeps_the_old_snapshot(snapshot, sandbox, monkeypatch, status):
    monkeypatch.setattr(partner_center, "LARGEST_PAGE", 20)
    sandbox.assume("continuation_refusal", status)
    sandbox.assume("continuation_seconds", 0)
    before = everything()
    assert sync.sync_now().state == SyncRun.State.FAILED
    assert everything() == before


def test_the_age_of_a_silent_source_stands_on_the_page(snapshot, sandbox, signed_in, move_clock):
    move_clock(72 * 60 + 5)
    sandbox.fault("avepoint", "status", status=503, times=0)
    sync.sync_now()
    page = signed_in("reader").get("/customers/").content.decode()
    assert "AvePoint is not answering. Its columns are 1 h 12 min old." in page
    assert "AvePoint has a fault of its own (503). Partner Center is up to date." in " ".join(page.split())
    assert page.count("as of ") == 2  # country and AvePoint status; the domain is Partner Center's
    assert "Contoso Trading" in signed_in("reader").get("/customers/?q=contoso").content.decode()


def test_both_silent_sources_are_both_named_and_the_list_stays(snapshot, sandbox, signed_in, move_clock):
    move_clock(26 * 3600)
    sandbox.fault("avepoint", "html", times=0)
    sandbox.fault("partnercenter", "drop_before", times=0)
    sync.sync_now()
    page = signed_in("reader").get("/customers/").content.decode()
    assert "AvePoint is not answering. Its columns are 1 day 2 h old." in page
    assert "Partner Center is not answering. Its columns are 1 day 2 h old." in page
    assert "What you see is what we last read." in page
    assert f'of <b class="num">{Customer.objects.count()}</b>' in page


def test_a_source_that_answers_again_is_no_trouble_any_more(snapshot, sandbox, signed_in):
    sandbox.fault("avepoint", "html", times=0)
    sync.sync_now()
    sandbox.no_faults()
    sync.sync_now()
    assert Source.objects.get(pk="avepoint").problem == ""
    assert "is not answering" not in signed_in("reader").get("/customers/").content.decode()


@pytest.mark.parametrize("service", ["partnercenter", "avepoint"])
def test_a_short_walk_changes_nothing_and_is_shown(snapshot, sandbox, signed_in, service):
    before = everything()
    sandbox.state("hide_customers", source=service, fraction=0.8)
    for _ in range(2):  # two short walks that agree are still a question
        assert sync.sync_now().state == SyncRun.State.FAILED
        assert everything() == before
    source = Source.objects.get(pk=NAMES[service])
    page = signed_in("reader").get("/customers/").content.decode()
    assert f"{source.label} lists far fewer customers than before." in page
    assert f"customers where we know {source.rows}. We keep what we know." in page


def test_unreadable_rows_do_not_make_a_walk_short(snapshot, sandbox):
    sandbox.fault("avepoint", "null_items", times=0, path=LISTS["avepoint"])
    for _ in range(2):
        assert sync.sync_now().state == SyncRun.State.DONE
    assert Source.objects.get(pk="avepoint").short_rows is None
    assert not Customer.objects.exclude(missing_since=None, listed=True).exists()


# --- What vanishes, and what must not (TRUST F29, F30) -------------------------------------------------------


def on_sources(signed_in):
    return Page(signed_in("reader").get("/sources/")).words


def test_half_of_the_customers_missing_once_are_marked_and_missing_twice_are_taken_away(snapshot, sandbox, signed_in):
    known = SourceRow.objects.filter(source="partner_center").count()
    sandbox.state("hide_customers", source="partnercenter", fraction=0.45)
    assert sync.sync_now().state == SyncRun.State.DONE
    missing = Customer.objects.filter(rows__source="partner_center", rows__missing_since__isnull=False)
    ids = set(missing.values_list("pk", flat=True))
    assert 0 < len(ids) <= known / 2
    assert Customer.objects.filter(listed=False).count() == 0
    page = signed_in("reader").get("/customers/", {"size": 200, "q": missing[0].name}).content.decode()
    assert "Not in Partner Center since" in page or "Not seen since" in page
    assert f"{known - len(ids)}</td>" in signed_in("reader").get("/sources/").content.decode()

    assert sync.sync_now().state == SyncRun.State.DONE
    gone = Customer.objects.filter(pk__in=ids)
    assert gone.count() == len(ids)  # nothing is deleted
    for customer in gone:
        backed_up = customer.rows.filter(source="avepoint").exists()
        assert (customer.listed, customer.source_words == "AvePoint only") == (backed_up, backed_up)
    assert not Customer.objects.exclude(missing_since=None).filter(listed=True).exists()

    sandbox.state("hide_customers", source="partnercenter", fraction=0)
    sync.sync_now()
    assert Customer.objects.filter(pk__in=ids, in_partner_center=True, listed=True).count() == len(ids)


def test_one_down_then_the_other_then_both_leave_everything_as_it_was(snapshot, sandbox, signed_in):
    before, rows = everything(), list(SourceRow.objects.order_by("pk").values())
    for down in (["avepoint"], ["partnercenter"], ["avepoint", "partnercenter"]):
        for service in down:
            sandbox.fault(service, "drop_before", times=0)
        for _ in range(2):
            assert sync.sync_now().state == SyncRun.State.FAILED
        assert everything() == before
        assert list(SourceRow.objects.order_by("pk").values()) == rows
        page = on_sources(signed_in)
        for service, name in NAMES.items():
            assert (f"{name.label} broke the connection off" in page) == (service in down)
        sandbox.no_faults()
        upstream_tokens.forget_http_cache()
        avepoint.forget_token()
        assert sync.sync_now().state == SyncRun.State.DONE
        assert "broke the connection off" not in on_sources(signed_in)


@pytest.mark.parametrize("service", ["partnercenter", "avepoint"])
def test_an_answer_that_is_cut_off_on_its_second_page_brings_nothing_of_its_source(
    snapshot, sandbox, signed_in, monkeypatch, service
):
    monkeypatch.setattr(partner_center, "LARGEST_PAGE", 20)
    sandbox.assume("avepoint_paging", 20)
    world = sandbox.running.cloud.world
    for customer in world.customers.values():
        customer.name = f"{customer.name} renamed"
    for row in world.avepoint:
        row.job_status = "Failed"
    sandbox.fault(service, "truncate", times=0, path=LISTS[service], skip=1)
    assert sync.sync_now().state == SyncRun.State.FAILED
    renamed = Customer.objects.filter(name__endswith="renamed").exists()
    working = Customer.objects.filter(ap_status="Working").exists()
    assert (renamed, working) == ((False, False) if service == "partnercenter" else (True, True))
    assert not StagedRow.objects.exists()
    assert NAMES[service].label in on_sources(signed_in)


def test_what_a_sync_has_staged_is_forgotten_whether_it_succeeded_or_failed(snapshot, sandbox):
    sync.sync_now()
    assert not StagedRow.objects.exists()
    sandbox.fault("avepoint", "html", times=0)
    sync.sync_now()
    assert not StagedRow.objects.exists()


def test_a_worker_that_takes_over_forgets_what_the_dead_one_has_staged(sandbox, move_clock):
    run, _ = sync.request_sync()
    dead = SyncRun.claim(run.pk)
    assert dead is not None
    ghost = Stretch(b"", 1, (merge.Seen("99999999-9999-4999-8999-999999999999", "9", "Ghost"),))
    walk = sync.Walk(staging.RollCall(SourceName.PARTNER_CENTER), lambda walk: iter(()))
    sync._store(dead, [(walk, [ghost])], [walk])
    move_clock(61)
    sync.carry_out(run.pk)
    assert SyncRun.objects.get().state == SyncRun.State.DONE
    assert not Customer.objects.filter(name="Ghost").exists()
    with pytest.raises(sync.LeaseLost):  # it was only asleep
        sync._store(dead, [(walk, [ghost])], [walk])
    with pytest.raises(sync.LeaseLost):
        sync._store(dead, [], [walk], anew=True)
    assert not StagedRow.objects.exists()


def test_a_sync_that_is_cancelled_in_mid_walk_changes_nothing(snapshot, sandbox, cast, monkeypatch):
    monkeypatch.setattr(partner_center, "LARGEST_PAGE", 5)
    admin, before, real = cast("admin"), everything(), sync._store
    run, _ = sync.request_sync()

    def store(held, came, walks, **more):
        real(held, came, walks, **more)
        if StagedRow.objects.filter(source="partner_center").exists():
            assert sync.cancel(held, by=admin)

    monkeypatch.setattr(sync, "_store", store)
    for customer in sandbox.running.cloud.world.customers.values():
        customer.name = f"{customer.name} renamed"
    sync.carry_out(run.pk)
    run.refresh_from_db()
    assert (run.state, run.cancelled_by, run.open) == (SyncRun.State.CANCELLED, admin, None)
    assert everything() == before
    assert not StagedRow.objects.exists()
    monkeypatch.setattr(sync, "_store", real)
    assert sync.sync_now().state == SyncRun.State.DONE


def test_progress_is_in_the_row_while_pages_come(sandbox, monkeypatch):
    monkeypatch.setattr(partner_center, "LARGEST_PAGE", 20)
    told, real = [], SyncRun.beat
    monkeypatch.setattr(SyncRun, "beat", lambda run, *how_far: (told.append(how_far), real(run, *how_far))[1])
    sync.sync_now()
    assert told == sorted(told)
    pages = -(-len(sandbox.running.cloud.world.customers) // 20) + 1
    assert told[-1][1] == SyncRun.objects.get().pages_seen == pages


def test_pages_wait_for_the_database_and_not_in_memory(sandbox, monkeypatch):
    monkeypatch.setattr(partner_center, "LARGEST_PAGE", 1)
    monkeypatch.setattr(sync, "PAGES_WAITING", 3)
    most, real = [], sync._store

    def store(run, came, walks, **more):
        time.sleep(0.01)
        most.append(len(came))
        real(run, came, walks, **more)

    monkeypatch.setattr(sync, "_store", store)
    assert sync.sync_now().state == SyncRun.State.DONE
    assert max(most) <= 3
    assert Source.objects.get(pk="partner_center").rows == len(sandbox.running.cloud.world.customers)


def test_an_empty_answer_never_empties_the_list(sandbox, snapshot):
    for service in ("partnercenter", "avepoint"):
        sandbox.state("hide_customers", source=service, fraction=1)
    before = everything()
    sync.sync_now()
    assert everything() == before


def test_a_walk_with_some_customers_less_is_believed_and_deletes_nobody(snapshot, sandbox):
    known = Customer.objects.count()
    sandbox.state("hide_customers", source="partnercenter", fraction=0.3)
    assert sync.sync_now().state == SyncRun.State.DONE
    missing = Customer.objects.exclude(missing_since=None)
    assert Customer.objects.count() == known
    assert 0 < missing.count() < known / 2
    assert set(missing.values_list("missing_from", flat=True)) == {"partner_center"}
    sandbox.state("hide_customers", source="partnercenter", fraction=0)
    sync.sync_now()
    assert not Customer.objects.exclude(missing_since=None).exists()


def test_what_is_missing_is_said_on_the_list(snapshot, sandbox, signed_in):
    sandbox.state("hide_customers", source="partnercenter", fraction=0.3)
    sync.sync_now()
    customer = Customer.objects.exclude(missing_since=None).order_by("pk")[0]
    page = signed_in("reader").get("/customers/", {"size": 200}).content.decode()
    row = page.split(f"/customers/{customer.key}/users/")[1].split("</tr>")[0]
    assert "Not in Partner Center since" in row


def test_rows_without_an_id_are_counted_said_and_make_nobody_missing(snapshot, sandbox, signed_in):
    sandbox.fault("partnercenter", "null_items", times=0, path=LISTS["partnercenter"])
    assert sync.sync_now().state == SyncRun.State.DONE
    assert not Customer.objects.exclude(missing_since=None).exists()
    left_out = Source.objects.get(pk="partner_center").quarantined
    assert left_out == len(sandbox.running.cloud.world.customers) / 2
    page = signed_in("reader").get("/customers/").content.decode()
    assert f"{left_out} rows of Partner Center could not be read and are left out." in page


def test_rows_that_come_twice_count_once(snapshot, sandbox, monkeypatch):
    monkeypatch.setattr(partner_center, "LARGEST_PAGE", 20)
    before = everything()
    sandbox.assume("avepoint_paging", 20)
    for service in ("partnercenter", "avepoint"):
        sandbox.fault(service, "repeat_items", times=0, path=LISTS[service])
    assert sync.sync_now().state == SyncRun.State.DONE
    assert everything() == before


@pytest.mark.parametrize("link", ["@odata.nextLink", "nextLink"])
def test_avepoints_pages_are_followed_if_it_has_any(sandbox, link):
    sandbox.assume("avepoint_paging", 20)
    sandbox.assume("avepoint_next_link", link)
    sync.sync_now()
    assert Source.objects.get(pk="avepoint").rows == len(sandbox.running.cloud.world.avepoint)


def test_one_source_that_never_answered_leaves_the_list_of_the_other(sandbox, signed_in):
    sandbox.fault("avepoint", "drop_before", times=0)
    sync.sync_now()
    assert Customer.objects.count() == len(sandbox.running.cloud.world.customers)
    page = signed_in("reader").get("/customers/").content.decode()
    assert "AvePoint has not been read yet." in page
    assert "Partner Center only, AvePoint not loaded yet" in page
    assert "Not in AvePoint" not in page


def test_avepoint_that_refuses_our_registration_is_said_and_its_token_forgotten(snapshot, sandbox):
    sandbox.fault("avepoint", "status", status=401, path=LISTS["avepoint"])
    sync.sync_now()
    assert "did not accept the portal's registration" in Source.objects.get(pk="avepoint").problem
    sync.sync_now()
    assert Source.objects.get(pk="avepoint").problem == ""


def test_without_avepoint_the_list_is_partner_centers_and_says_so(sandbox, settings, signed_in):
    settings.AVEPOINT_CLIENT_ID = ""
    assert sync.sync_now().state == SyncRun.State.DONE
    assert sandbox.journal("avepoint") == []
    assert Customer.objects.count() == len(sandbox.running.cloud.world.customers)
    page = signed_in("reader").get("/customers/").content.decode()
    assert "AvePoint is not configured" in page
    assert "not loaded yet" not in page


# --- Whose token ---------------------------------------------------------------------------------------------


def test_partner_centers_list_is_read_app_only_where_that_is_allowed(sandbox, cast):
    admin = cast("admin")
    sandbox.running.journal.clear()
    run, _ = sync.request_sync(by=admin, grant=TokenCache.objects.get(operator=admin))
    sync.carry_out(run.pk)
    assert audiences(sandbox) == ["app"]
    assert len(sandbox.journal("entra", "POST")) == 1  # the operator's own token was not even asked for


@pytest.mark.parametrize("answer", ["403", "401"])
def test_where_it_is_not_the_button_reads_it_with_the_operators_token(sandbox, cast, answer):
    sandbox.assume("app_only_customers", answer)
    reader = cast("reader")
    sandbox.running.journal.clear()
    run, _ = sync.request_sync(by=reader, grant=TokenCache.objects.get(operator=reader))
    sync.carry_out(run.pk)
    run.refresh_from_db()
    assert run.state == SyncRun.State.DONE
    assert Customer.objects.from_source("both").exists()
    assert audiences(sandbox) == ["app", "reader"]


def test_a_refused_registration_is_not_asked_again_in_this_process(sandbox, cast, move_clock):
    sandbox.assume("app_only_customers", "403")
    reader = cast("reader")
    for _ in range(2):
        run, _ = sync.request_sync(by=reader, grant=TokenCache.objects.get(operator=reader))
        sync.carry_out(run.pk)
        sync.sync_now()  # by the clock: nobody's token, so Partner Center is left alone
    assert audiences(sandbox) == ["app", "reader", "reader"]
    asked_entra = [line for line in sandbox.journal("entra") if "client_credentials" in str(line["body"])]
    assert len(asked_entra) == 1


def test_a_sync_by_the_clock_that_may_not_read_partner_center_is_no_failure(sandbox, cast, signed_in):
    reader = cast("reader")
    sandbox.assume("app_only_customers", "403")
    run, _ = sync.request_sync(by=reader, grant=TokenCache.objects.get(operator=reader))
    sync.carry_out(run.pk)
    good_at = Source.objects.get(pk="partner_center").last_good_at
    assert sync.sync_now().state == SyncRun.State.DONE
    source = Source.objects.get(pk="partner_center")
    assert (source.problem, source.last_good_at) == ("", good_at)
    assert Source.objects.get(pk="avepoint").last_good_at > good_at
    assert not Customer.objects.exclude(missing_since=None).exists()


def test_a_first_sync_that_may_not_read_partner_center_says_what_to_do(sandbox, signed_in):
    sandbox.assume("app_only_customers", "403")
    sync.sync_now()
    page = signed_in("reader").get("/customers/").content.decode()
    assert "Partner Center has not been read yet." in page
    assert "Press Refresh to have it read with your sign-in." in page


def test_a_list_that_only_people_may_read_and_nobody_did_for_a_day_says_so(sandbox, cast, signed_in, move_clock):
    reader = cast("reader")
    sandbox.assume("app_only_customers", "403")
    run, _ = sync.request_sync(by=reader, grant=TokenCache.objects.get(operator=reader))
    sync.carry_out(run.pk)
    move_clock(25 * 3600)
    sync.sync_now()
    page = signed_in("reader").get("/customers/").content.decode()
    assert "The columns of Partner Center are 1 day 1 h old." in page


def test_an_operator_whose_tokens_are_gone_does_not_stop_the_rest(sandbox, cast):
    sandbox.assume("app_only_customers", "403")
    reader = cast("reader")
    sandbox.state("revoke_refresh_token", persona="reader")
    run, _ = sync.request_sync(by=reader, grant=TokenCache.objects.get(operator=reader))
    sync.carry_out(run.pk)
    assert Source.objects.get(pk="avepoint").problem == ""
    assert Source.objects.get(pk="partner_center").problem == sync.ONLY_FOR_PEOPLE


@pytest.fixture
def meanwhile(monkeypatch):
    """`meanwhile(act)`: once the walks of the next sync are about to start."""

    def at_its_start(act):
        walk_side_by_side = sync._walk_side_by_side

        def walks_begin(run, walks):
            act()
            return walk_side_by_side(run, walks)

        monkeypatch.setattr(sync, "_walk_side_by_side", walks_begin)

    return at_its_start


def test_signing_out_during_ones_own_refresh_costs_no_more_than_partner_centers_list(sandbox, signed_in, meanwhile):
    sandbox.assume("app_only_customers", "401")
    browser = signed_in("reader")
    grant = TokenCache.objects.get()
    run, _ = sync.request_sync(by=grant.operator, grant=grant)
    meanwhile(lambda: browser.post("/signout/"))
    sync.carry_out(run.pk)
    run.refresh_from_db()
    assert (run.state, run.grant) == (SyncRun.State.DONE, None)
    assert (Source.objects.get(pk="avepoint").problem, Customer.objects.from_source("ap").exists()) == ("", True)
    assert Source.objects.get(pk="partner_center").problem == sync.ONLY_FOR_PEOPLE


def test_signing_in_anew_during_ones_own_refresh_lets_it_go_on(sandbox, signed_in, meanwhile):
    sandbox.assume("app_only_customers", "401")
    browser = signed_in("reader")
    grant = TokenCache.objects.get()
    run, _ = sync.request_sync(by=grant.operator, grant=grant)
    meanwhile(lambda: browser.sign_in("reader"))
    sync.carry_out(run.pk)
    run.refresh_from_db()
    assert (run.state, run.grant) == (SyncRun.State.DONE, TokenCache.objects.get())
    assert run.grant != grant
    assert audiences(sandbox) == ["app", "reader"]


def test_entra_that_does_not_answer_for_the_operator_is_a_failure(snapshot, sandbox, cast):
    reader = cast("reader")
    sync.app_only_refused.set()
    sandbox.fault("entra", "status", status=503, times=0)
    run, _ = sync.request_sync(by=reader, grant=TokenCache.objects.get(operator=reader))
    sync.carry_out(run.pk)
    assert SyncRun.objects.get(pk=run.pk).state == SyncRun.State.FAILED
    assert Source.objects.get(pk="partner_center").problem == "Microsoft Entra has a fault of its own (503)."


def test_an_operator_outside_admin_agents_gets_no_list_and_it_is_said(sandbox, cast):
    sandbox.assume("app_only_customers", "403")
    outsider = cast("outsider")
    run, _ = sync.request_sync(by=outsider, grant=TokenCache.objects.get(operator=outsider))
    sync.carry_out(run.pk)
    run.refresh_from_db()
    assert run.state == SyncRun.State.FAILED
    assert "does not have the rights" in Source.objects.get(pk="partner_center").problem


def test_a_refusal_in_mid_list_is_a_failure_and_no_reason_to_change_the_token(snapshot, sandbox, monkeypatch):
    monkeypatch.setattr(partner_center, "LARGEST_PAGE", 20)
    sandbox.fault("partnercenter", "status", status=403, header="MS-ContinuationToken")
    assert sync.sync_now().state == SyncRun.State.FAILED
    assert not sync.app_only_refused.is_set()


def test_entra_that_does_not_answer_is_a_failure_like_any_other(snapshot, sandbox):
    upstream_tokens.forget_http_cache()
    sandbox.fault("entra", "status", status=503, times=0)
    assert sync.sync_now().state == SyncRun.State.FAILED
    assert not sync.app_only_refused.is_set()
    assert Source.objects.get(pk="partner_center").problem


# --- Who carries a run out, and how often --------------------------------------------------------------------


def test_a_fault_of_ours_in_one_walk_does_not_stop_the_other_nor_the_next_sync(snapshot, sandbox, monkeypatch):
    def broken(_row):
        raise RuntimeError("a surprise")

    monkeypatch.setattr(sync.merge, "from_avepoint", broken)
    run = sync.sync_now()
    assert run.state == SyncRun.State.FAILED
    assert Source.objects.get(pk="avepoint").problem == "We had a fault while we read AvePoint."
    assert Source.objects.get(pk="partner_center").problem == ""
    monkeypatch.undo()
    assert sync.sync_now().state == SyncRun.State.DONE


def test_a_fault_of_ours_at_the_swap_closes_the_run_and_is_said(snapshot, sandbox, monkeypatch, signed_in):
    before = everything()

    def broken(*_args, **_more):
        raise RuntimeError("a surprise")

    monkeypatch.setattr(sync.merge, "put_in_place", broken)
    assert (sync.sync_now().state, everything()) == (SyncRun.State.FAILED, before)
    assert "We had a fault while we put the lists in place." in Page(signed_in("reader").get("/sources/")).words
    monkeypatch.undo()
    assert sync.sync_now().state == SyncRun.State.DONE


@pytest.mark.django_db(transaction=True)
def test_who_signs_out_while_they_ask_for_a_sync_gets_one_without_their_token(cast, sandbox):
    operator = cast("admin")
    grant = TokenCache.objects.get(operator=operator)
    TokenCache.objects.all().delete()
    run, is_new = sync.request_sync(by=operator, grant=grant)
    assert is_new
    assert run.grant is None


def test_a_lease_of_a_clock_that_was_a_day_ahead_is_no_lease(move_clock):
    run, _ = sync.request_sync()
    move_clock(24 * 3600)
    assert SyncRun.claim(run.pk)
    move_clock(0)
    assert list(SyncRun.due(clock.now())) == [run]


def test_two_requests_are_one_run():
    first, is_new = sync.request_sync()
    again, is_newer = sync.request_sync()
    assert (again.pk, is_new, is_newer) == (first.pk, True, False)
    assert SyncRun.objects.count() == 1


def test_somebody_who_joins_a_waiting_run_lends_it_their_token(sandbox, cast):
    sync.request_sync()
    reader = cast("reader")
    grant = TokenCache.objects.get(operator=reader)
    run, is_new = sync.request_sync(by=reader, grant=grant)
    assert (is_new, run.grant, run.requested_by) == (False, grant, reader)
    admin = cast("admin")
    run, _ = sync.request_sync(by=admin, grant=TokenCache.objects.get(operator=admin))
    assert run.grant == grant


def test_a_finished_run_lets_the_next_one_begin(sandbox):
    first = sync.sync_now()
    run, is_new = sync.request_sync()
    assert is_new
    assert run.pk != first.pk


def test_a_run_is_carried_out_once_however_often_its_message_comes(sandbox):
    run, _ = sync.request_sync()
    tasks.sync_customers(run.pk)
    finished = SyncRun.objects.get()
    tasks.sync_customers(run.pk)
    tasks.sync_customers(run.pk + 1000)
    assert SyncRun.objects.get() == finished
    assert SyncRun.objects.get().fence == 1
    assert len(lists_asked(sandbox)) == 1


def test_nobody_takes_a_run_that_is_held():
    run, _ = sync.request_sync()
    held = SyncRun.claim(run.pk)
    assert held is not None
    assert (held.state, held.fence) == (SyncRun.State.RUNNING, 1)
    assert SyncRun.claim(run.pk) is None


def test_a_heartbeat_keeps_the_run(move_clock):
    run, _ = sync.request_sync()
    held = SyncRun.claim(run.pk)
    move_clock(50)
    assert held is not None
    assert held.beat(12)
    move_clock(100)
    assert SyncRun.claim(run.pk) is None
    assert SyncRun.objects.get().rows_seen == 12


def test_after_the_lease_a_second_worker_takes_over_and_the_first_ones_writes_are_rejected(sandbox, move_clock):
    run, _ = sync.request_sync()
    first = SyncRun.claim(run.pk)
    assert first is not None
    walks = list(sync._walks(first))
    sync._walk_side_by_side(first, walks)
    move_clock(61)
    second = SyncRun.claim(run.pk)
    assert second is not None
    assert second.fence == 2
    assert not first.beat(1)
    with pytest.raises(sync.LeaseLost):
        sync._finish(first, walks)
    assert Customer.objects.count() == 0
    assert not Source.objects.exclude(last_good_at=None).exists()
    assert SyncRun.objects.get().state == SyncRun.State.RUNNING
    sync._walk_side_by_side(second, fresh := list(sync._walks(second)))
    sync._finish(second, fresh)
    assert SyncRun.objects.get().state == SyncRun.State.DONE
    assert Customer.objects.count() > 60


def test_a_worker_that_lost_its_run_stops_walking_and_says_nothing_on_the_page(snapshot, sandbox, monkeypatch):
    monkeypatch.setattr(partner_center, "LARGEST_PAGE", 5)
    monkeypatch.setattr(sync, "HEARTBEAT", 0.1)
    sandbox.fault("partnercenter", "slow", seconds=0.3, times=0, path=LISTS["partnercenter"])
    before = everything()
    run, _ = sync.request_sync()
    real = SyncRun.claim

    def robbed(pk):
        held = real(pk)
        SyncRun.objects.filter(pk=pk).update(fence=99)
        return held

    monkeypatch.setattr(SyncRun, "claim", robbed)
    sync.carry_out(run.pk)
    assert len(lists_asked(sandbox)) <= 2
    assert everything() == before
    assert SyncRun.objects.get(pk=run.pk).state == SyncRun.State.RUNNING


@pytest.mark.django_db(transaction=True)
def test_two_workers_with_the_same_message_do_it_once(sandbox):
    run, _ = sync.request_sync()
    start = threading.Barrier(2)

    def work():
        start.wait()
        try:
            sync.carry_out(run.pk)
        finally:
            connection.close()

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(lists_asked(sandbox)) == 1
    finished = SyncRun.objects.get()
    assert (finished.state, finished.fence) == (SyncRun.State.DONE, 1)


# --- Messages that are lost, late, doubled -------------------------------------------------------------------


@pytest.fixture
def published(monkeypatch):
    """The ids that were given to the broker."""
    ids = []
    monkeypatch.setattr(tasks.sync_customers, "delay", ids.append)
    return ids


def test_a_run_is_published_once_its_row_is_committed(published, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        run, _ = sync.request_sync()
        tasks.start_sync(run)
        assert published == []
    assert published == [run.pk]


def test_the_clock_starts_one_sync_and_no_second_beside_it(published, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        tasks.start_due_sync()
        tasks.start_due_sync()
    assert published == [SyncRun.objects.get().pk]


def test_a_message_that_was_lost_is_published_again_but_not_all_the_time(published, move_clock):
    run, _ = sync.request_sync()
    tasks.republish_due()
    assert published == []
    move_clock(21)
    tasks.republish_due()
    tasks.republish_due()
    assert published == [run.pk]
    move_clock(42)
    tasks.republish_due()
    assert published == [run.pk, run.pk]


def test_only_what_nobody_holds_is_published_again(published, move_clock):
    run, _ = sync.request_sync()
    SyncRun.claim(run.pk)
    move_clock(59)
    tasks.republish_due()
    assert published == []
    move_clock(61)
    tasks.republish_due()
    assert published == [run.pk]


def test_a_finished_run_is_never_published_again(published, sandbox, move_clock):
    sync.sync_now()
    move_clock(3600)
    tasks.republish_due()
    assert published == []


def test_a_broker_that_is_gone_holds_up_no_page(signed_in, monkeypatch, django_capture_on_commit_callbacks):
    def gone(run_id):
        raise ConnectionRefusedError

    monkeypatch.setattr(tasks.sync_customers, "delay", gone)
    browser = signed_in("reader")
    with django_capture_on_commit_callbacks(execute=True):
        assert browser.post("/customers/refresh/").status_code == 303
    assert SyncRun.objects.get().state == SyncRun.State.QUEUED


def test_a_clock_that_jumps_steals_no_result(sandbox, move_clock):
    """Two hours ahead: another worker may take over, but only one of the two is believed."""
    run, _ = sync.request_sync()
    first = SyncRun.claim(run.pk)
    assert first is not None
    move_clock(7200)
    sync.carry_out(run.pk)
    assert not first.write(state=SyncRun.State.FAILED)
    assert SyncRun.objects.get().state == SyncRun.State.DONE
    move_clock(-86400)
    assert Source.objects.get(pk="avepoint").age < timedelta(0)
    upstream_tokens.forget_http_cache()  # the clouds' clocks went back as well, so these tokens are of tomorrow
    avepoint.forget_token()
    assert sync.sync_now().state == SyncRun.State.DONE
    assert abs(Source.objects.get(pk="avepoint").last_good_at - clock.now()) < timedelta(minutes=1)


# --- None, and many -------------------------------------------------------------------------


def test_an_empty_partner_has_an_empty_list(sandbox):
    sandbox.running.cloud.reset("empty")
    assert sync.sync_now().state == SyncRun.State.DONE
    assert Customer.objects.count() == 0


def test_twenty_thousand_customers(sandbox, signed_in, django_assert_max_num_queries, capsys):
    sandbox.running.cloud.reset("large")
    took = []
    for _ in range(2):
        started = time.monotonic()
        assert sync.sync_now().state == SyncRun.State.DONE
        took.append(time.monotonic() - started)
    assert Customer.objects.filter(in_partner_center=True).count() == 20_000
    browser = signed_in("reader")
    for path in ("/customers/", "/customers/?q=co&source=both&sort=-country&page=3&size=200", "/customers/?sort=ap"):
        started = time.monotonic()
        with django_assert_max_num_queries(12):
            assert browser.get(path).status_code == 200
        took.append(time.monotonic() - started)
    with capsys.disabled():
        sys.stdout.write(f"\n20,000 customers: two syncs and three pages took {[round(t, 2) for t in took]} s\n")
    assert sum(took[:2]) < 240  # minutes mean that something grows faster than the list
