"""Whose tokens a run uses, and what ends it (TRUST 2.3, F31 to F34)."""

import pytest

from partnerportal import grants
from partnerportal.models import TokenCache
from partnerportal.sandbox import seed
from users.onboarding import delivery, run, steering

from .conftest import tenant
from .runs import (
    Kind,
    State,
    all_accounted_for,
    checked,
    newcomers,
    people,
    sign_in_of,
    start,
    states,
)
from .test_runs import again, beat, creating, posts, worker

__all__ = ["worker"]  # a fixture


def test_signing_out_pauses_the_run_and_only_a_sign_in_of_the_same_person_resumes(admin, directory, worker, signed_in):
    found = creating("anna", "bert", "cleo")
    worker.messages += delivery.due(found)
    worker.take()
    admin.post("/signout/")
    assert not TokenCache.objects.filter(job=found.key).exists()  # at once, whoever looks
    worker.drain()
    paused = again(found)
    assert (paused.state, paused.reason, paused.grant) == (State.PAUSED, run.SIGNED_OUT, None)
    assert states(found) == ["done", "queued", "queued"]
    assert len(directory.writes()) == 1
    signed_in("writer")
    theirs = sign_in_of("writer")
    with pytest.raises(steering.NotYours):
        steering.resume(paused, by=theirs.operator, grant=theirs)
    signed_in("admin")
    assert steering.needs_sign_in(paused)
    assert steering.resume(paused, by=found.by, grant=sign_in_of("admin"))
    worker.drain(again(found))
    assert states(found) == ["done"] * 3
    assert {line["subject"] for line in directory.writes()} == {seed.PERSONA_OIDS["admin"]}


def test_beat_pauses_a_run_that_nobody_works_on(admin, worker):
    found = creating("anna")
    admin.post("/signout/")
    beat()
    assert (again(found).state, worker.messages) == (State.PAUSED, [])


def test_a_run_that_was_told_to_finish_outlives_the_sign_in_but_not_eight_hours(admin, directory, worker, move_clock):
    found = checked()
    newcomers(found, "anna", "bert")
    start(found, goes_on=True)
    (first, second) = delivery.due(found)
    admin.post("/signout/")
    worker.messages = [first]
    worker.take()
    assert states(found)[0] == "done"
    move_clock(8 * 3600 + 1)
    worker.messages = [second]
    worker.drain()
    halted = again(found)
    assert (halted.state, halted.reason, states(found)[1]) == (State.WAITING, run.ENDED, "queued")
    assert len(directory.writes()) == 1


def test_a_sign_in_anew_takes_the_runs_of_the_one_before_along(admin, worker):
    found = creating("anna")
    admin.sign_in("admin")
    worker.drain(found)
    assert states(found) == ["done"]


def test_the_tokens_of_a_run_open_in_no_other_run_and_are_of_its_owner(admin, directory, worker, signed_in):
    found, other = creating("anna"), creating("bert")
    stolen = TokenCache.objects.get(job=other.key)
    TokenCache.objects.filter(pk=stolen.pk).delete()
    TokenCache.objects.filter(job=found.key).update(job=other.key)
    moved = TokenCache.objects.select_related("operator").get(job=other.key)
    with pytest.raises(Exception, match="sign in again"):
        grants.partner_center(moved)
    worker.drain(found)
    assert (again(found).state, directory.writes()) == (State.WAITING, [])


def test_a_second_factor_that_is_asked_for_halts_the_run_and_fails_no_row(admin, directory, worker, sandbox):
    found = creating("anna", "bert")
    sandbox.state("require_mfa", on=True)
    worker.drain(found)
    assert again(found).state == State.WAITING
    assert "Then press Resume." in again(found).reason
    assert states(found) == ["queued", "queued"]
    assert posts(directory) == [] or all(line["status"] == 401 for line in posts(directory))
    sandbox.state("require_mfa", on=False)
    admin.sign_in("admin", mfa=True)
    assert steering.resume(again(found), by=found.by, grant=sign_in_of("admin"))
    worker.drain(again(found))
    assert states(found) == ["done", "done"]


def test_rights_that_end_deny_the_rest_of_that_customer_only(admin, directory, worker, sandbox):
    """TRUST F34. The memo of a minute ends with Microsoft's first no."""
    found = checked()
    newcomers(found, *(f"person{number}" for number in range(6)))
    newcomers(found, "zoe", key="medium")
    start(found)
    worker.messages += sorted(delivery.due(found))
    worker.take()
    sandbox.state("terminate_relationship", tenant_id=tenant("contoso"))
    worker.drain()
    assert states(found) == ["done", *["denied"] * 5, "done"]
    refused = [line for line in posts(directory) if line["status"] == 403]
    assert len(refused) <= 1
    assert all_accounted_for(found, 7)


def test_an_app_role_that_is_taken_away_denies_the_whole_rest(admin, directory, worker, sandbox, move_clock):
    found = creating("anna", "bert")
    worker.messages += delivery.due(found)
    worker.take()
    sandbox.state("set_app_roles", persona="admin", roles=[])
    move_clock(16 * 60)
    worker.drain()
    assert states(found) == ["done", "denied"]
    assert len(directory.writes()) == 1
    assert not TokenCache.objects.filter(operator=found.by).exists()


def test_a_directory_writer_cannot_delete_in_a_run_either(writer, directory, worker):
    found = checked("writer", kind=Kind.DELETE)
    people(found, [directory.special("plain")], {"state": "deleted"})
    start(found, "writer")
    worker.drain(found)
    assert (states(found), directory.writes()) == (["denied"], [])
