"""What can still be done with a run that is over: some days after, and when it names nobody any more."""

import uuid
from datetime import timedelta

import pytest
from django.conf import settings
from django.urls import reverse

from partnerportal import chain_check, clock
from partnerportal.sandbox.seed_licences import POWER_BI_PRO
from tests.pages import Page
from users.models import OnboardingRow, OnboardingRun, Operation
from users.onboarding import drafts, steering
from users.tasks import purge_secrets

from .conftest import operation_url, tenant
from .runs import RowState, State, checked, newcomers, sign_in_of, start, states
from .test_runs import again, creating, worker

__all__ = ["worker"]  # a fixture


@pytest.fixture
def forgotten(admin, directory, worker):
    """A run that names nobody any more, with one user created and one refused."""
    found = creating("anna", "bert")
    found.rows.filter(line=2).update(state=RowState.REFUSED)
    worker.drain(found)
    ended = clock.now() - settings.RUNS_KEEP_NAMES - timedelta(days=1)
    OnboardingRun.objects.update(finished_at=ended)
    OnboardingRun.forget()
    return again(found)


def test_a_run_that_names_nobody_any_more_offers_neither_undo_nor_another_try(admin, forgotten):
    text = admin.get(reverse("run", args=[forgotten.key])).content.decode()
    assert 'value="again"' not in text
    assert 'value="undo"' not in text


@pytest.mark.parametrize("step", ["again", "undo"])
def test_nor_does_it_take_them(admin, directory, worker, forgotten, step, monkeypatch):
    monkeypatch.setattr("partnerportal.sessions.proved_lately", lambda _request: True)
    answer = admin.post(reverse("run", args=[forgotten.key]), {"step": step, "op_id": str(forgotten.key)})
    assert answer.status_code == 409
    assert again(forgotten).state == State.DONE
    assert states(forgotten) == ["done", "refused"]
    assert not forgotten.followers.exists()


def test_an_undo_that_was_prepared_before_more_was_created_is_prepared_anew(admin, directory, worker):
    found = creating("anna", "bert")
    found.rows.filter(line=2).update(state=RowState.REFUSED)
    worker.drain(found)
    first = steering.undo(again(found), by=found.by)
    assert first.rows.count() == 1
    assert steering.undo(again(found), by=found.by) == first
    steering.try_again(again(found), by=found.by, grant=sign_in_of("admin"))
    worker.drain(found)
    second = steering.undo(again(found), by=found.by)
    assert sorted(second.rows.values_list("target_name", flat=True)) == ["Anna", "Bert"]
    assert not OnboardingRun.objects.filter(pk=first.pk).exists()


@pytest.mark.parametrize("fate", ["renamed", "deleted and another has the name", "deleted and restored"])
def test_an_undo_deletes_whom_the_run_created_and_nobody_else(admin, directory, worker, fate):
    found = creating("anna")
    worker.drain(found)
    anna = directory.named("anna")[0]
    undoing = steering.undo(again(found), by=found.by)
    if fate == "renamed":
        anna.upn = "anna.new@" + anna.upn.partition("@")[2]
    start(undoing)
    worker.drain(undoing)
    assert states(undoing) == (["conflict"] if fate == "renamed" else ["done"])


def test_what_is_thrown_away_is_not_started_any_more_and_what_is_started_is_not_thrown_away(admin, worker):
    first, second = checked(), checked()
    newcomers(first, "anna")
    newcomers(second, "bert")
    late = again(first)
    drafts.discard(again(first))
    assert not steering.start(late, by=late.by, grant=sign_in_of("admin"))
    late = again(second)
    start(again(second))
    drafts.discard(late)
    assert states(second) == ["queued"]


def test_nothing_of_a_line_of_a_file_outlives_the_names(admin, worker):
    """Also of one that named nobody, and was never checked."""
    found = checked()
    found.rows.create(line=2, typed={"immutable_id": "aGFucw=="}, state=RowState.STOPPED, detail="“Hans” is no country")
    ended = clock.now() - settings.RUNS_KEEP_NAMES - timedelta(days=1)
    OnboardingRun.objects.update(state=State.DONE, finished_at=ended)
    OnboardingRun.forget()
    row = found.rows.get()
    assert (row.typed, row.detail) == ({}, "")


def test_the_operations_of_a_run_name_nobody_when_its_rows_do_not_and_the_audit_trail_is_whole(
    admin, directory, sandbox, worker
):
    """Also a try before the last, and the licences of who was created; not what nobody knows the outcome of."""
    sandbox.fault("partnercenter", "status", method="POST", path="/users$", status=429, headers={"Retry-After": "0"})
    found = checked()
    newcomers(found, "anna", "bert", "cleo")
    found.rows.filter(line=1).update(licences={POWER_BI_PRO.id: POWER_BI_PRO.name})
    start(found)
    worker.drain(found)
    OnboardingRow.objects.update(not_before=None)
    worker.drain(again(found))
    assert states(found) == ["done"] * 3
    unknown = Operation.objects.get(op_id=found.rows.get(line=3).op_id)
    Operation.objects.filter(pk=unknown.pk).update(state="unknown")
    assert Operation.objects.filter(kind="licences").count() == 2
    assert Operation.objects.filter(kind="create").count() == 4  # one was answered with 429
    by_hand = Operation.objects.get(pk=unknown.pk)
    by_hand.pk, by_hand.op_id, by_hand.job, by_hand.state = None, uuid.uuid4(), None, "done"
    by_hand.open_name = ""
    by_hand.save(force_insert=True)
    before = Operation.objects.count()
    OnboardingRun.objects.update(finished_at=clock.now() - settings.RUNS_KEEP_NAMES - timedelta(days=1))
    purge_secrets()

    left = Operation.objects.exclude(pk__in=(unknown.pk, by_hand.pk))
    assert set(left.values_list("target_name", "detail", "sealed_password")) == {("", "", None)}
    assert all(each.fields == each.before == {} for each in left)
    assert all(each.target_id for each in left.filter(kind="create", state="done"))
    assert Operation.objects.count() == before
    assert {each.target_name for each in Operation.objects.filter(pk__in=(unknown.pk, by_hand.pk))} == {"Cleo"}
    assert not chain_check.verify().findings
    page = Page(admin.get(operation_url(left.filter(kind="create", state="done")[0].op_id)))
    assert "Whom this was about is not kept any more" in page.words
    assert "Anna" not in page.words
    user_id = found.rows.get(line=1).target_id
    for url in (reverse("user-history", args=[tenant("contoso"), user_id]), reverse("run", args=[found.key])):
        assert "anna@" not in Page(admin.get(url)).words

    Operation.objects.filter(pk=unknown.pk).update(state="refused")  # it is known now
    purge_secrets()
    assert Operation.objects.get(pk=unknown.pk).fields == {}
