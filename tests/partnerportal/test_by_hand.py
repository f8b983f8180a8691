"""Statements without the ORM say what a QuerySet would say."""

import uuid
from datetime import timedelta

import pytest

from partnerportal import by_hand, clock
from partnerportal.models import AuditEvent, Operator, TokenCache

pytestmark = pytest.mark.django_db


@pytest.fixture
def maya():
    who = {"tid": uuid.uuid4(), "oid": uuid.uuid4(), "name": "Maya “Ö” Okafor", "email": "m@partner.example"}
    return Operator.objects.create(subject="maya", app_roles=["Portal.Admin", "Ünicode"], preferences={"a": [1]}, **who)


@pytest.fixture
def grant(maya):
    return TokenCache.objects.create(operator=maya, sealed=b"\x00sealed\xff", job=uuid.uuid4(), ends_at=clock.now())


def values_of(row):
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


def test_a_row_is_read_as_a_queryset_reads_it_with_those_that_it_points_to(grant):
    copy = TokenCache.objects.create(operator=grant.operator, sealed=b"", belongs_to=grant)
    for pk in (grant.pk, copy.pk):
        (ours,) = by_hand.read(TokenCache, {"pk": pk}, "operator", "belongs_to", "belongs_to__operator")
        theirs = TokenCache.objects.select_related("operator", "belongs_to__operator").get(pk=pk)
        assert values_of(ours) | {"sealed": bytes(ours.sealed)} == values_of(theirs) | {"sealed": bytes(theirs.sealed)}
        assert values_of(ours.operator) == values_of(theirs.operator)
        assert ours.belongs_to == theirs.belongs_to
    assert values_of(ours.belongs_to.operator) == values_of(grant.operator)
    assert by_hand.read(TokenCache, {"pk": uuid.uuid4()}) == []


def test_what_is_left_unread_is_read_when_somebody_asks_and_what_is_read_beside_has_its_name(maya, grant):
    beside = (("doubled", "fence * %s"), ("of", "(SELECT name FROM partnerportal_operator WHERE id = operator_id)"))
    how = {"beside": beside, "unread": ("sealed", "job")}
    rows = by_hand.fetch(TokenCache, "WHERE id = %s", [2, *by_hand.adapted(TokenCache, {"id": grant.pk})], **how)
    (found,) = by_hand.built(TokenCache, rows, **how)
    assert found.get_deferred_fields() == {"sealed", "job"}
    assert (found.doubled, found.of, found.fence) == (2 * grant.fence, maya.name, grant.fence)
    assert (bytes(found.sealed), found.job, found.ends_at) == (bytes(grant.sealed), grant.job, grant.ends_at)


def test_a_row_that_is_inserted_is_the_one_that_save_would_have_stored(maya):
    said = {"seq": 7, "previous": "a", "hash": "b", "attempt": uuid.uuid4(), "kind": "intent", "mode": "sandbox"}
    event = AuditEvent(fields={"name": ["", "Zoë"]}, actor_name=maya.name, **said)
    by_hand.insert(event)
    assert values_of(AuditEvent.objects.get(pk=event.pk)) == values_of(event)
    with pytest.raises(TypeError, match="never changed"):
        event.save()


@pytest.mark.only_on("postgresql")
def test_a_row_that_is_inserted_with_what_another_statement_returns_is_stored_and_told_so(maya):
    said = {"attempt": uuid.uuid4(), "kind": "intent", "mode": "sandbox", "at": clock.now()}
    event = AuditEvent(fields={"name": ["", "Zoë"]}, actor_name=maya.name, status=200, **said)
    places = ("seq", "previous", "hash")
    assert by_hand.insert_with(event, "SELECT %s + 1, %s, 'b'", [6, "a"], places)
    assert values_of(AuditEvent.objects.get(pk=event.pk)) == values_of(event)
    assert (event.seq, event.previous, event.hash) == (7, "a", "b")
    with pytest.raises(TypeError, match="never changed"):
        event.save()
    assert not by_hand.insert_with(AuditEvent(**said), "SELECT 1, 'a', 'b' WHERE %s = 2", [3], places)
    assert AuditEvent.objects.count() == 1


def test_what_counts_on_does_so_beside_what_is_changed(grant):
    assert by_hand.change(TokenCache, {"pk": grant.pk}, {"sealed": b"new"}, one_more=("fence",)) == 1
    found = TokenCache.objects.get(pk=grant.pk)
    assert (bytes(found.sealed), found.fence) == (b"new", grant.fence + 1)


def test_only_what_is_so_is_changed_and_it_is_said_how_many(maya, grant):
    later = clock.now() + timedelta(hours=1)
    held = {"pk": grant.pk, "fence": 0}
    assert by_hand.change(TokenCache, held, {"fence": 1, "ends_at": later, "job": None, "sealed": b"new"}) == 1
    assert by_hand.change(TokenCache, held, {"fence": 2}) == 0
    changed = TokenCache.objects.get()
    assert (changed.fence, changed.ends_at, changed.job, bytes(changed.sealed)) == (1, later, None, b"new")
    assert by_hand.change(Operator, {"pk": [maya.pk, 0]}, {"app_roles": [], "preferences": {"b": "ü"}}) == 1
    maya.refresh_from_db()
    assert (maya.app_roles, maya.preferences) == ([], {"b": "ü"})


def test_what_a_row_points_to_must_be_so_too(maya, grant):
    for name, changed in (("Somebody", 0), (maya.name, 1)):
        of = {"operator": {"name": name, "tid": maya.tid}}
        assert by_hand.change(TokenCache, {"pk": grant.pk}, {"fence": 5}, of=of) == changed
        assert by_hand.change(TokenCache, {"pk": grant.pk}, {"belongs_to": grant}, of={"operator": {"pk": None}}) == 0
