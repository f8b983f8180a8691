"""What can still be done with a run that is over: some days after, and when it names nobody any more."""

from datetime import timedelta

import pytest
from django.conf import settings
from django.urls import reverse

from partnerportal import clock
from users.models import OnboardingRun
from users.onboarding import drafts, steering

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
