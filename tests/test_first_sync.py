"""The customers of the first sync are shared by the tests of a process, and no test sees what another did to them."""

import pytest
from django.db import connection

from customers.models import Customer, SourceRow
from tests.kept_rows import SYNCED, FirstSync


@pytest.mark.usefixtures("snapshot")
@pytest.mark.parametrize("time", ["the first time", "the second time", "the third time"])
def test_each_test_finds_it_whole_whatever_the_one_before_did(time: str, first_sync: FirstSync) -> None:
    for model, kept in zip(SYNCED, first_sync.rows, strict=True):
        assert model._default_manager.count() == len(kept.rows), model
    assert Customer.objects.filter(name="Contoso Trading").exists()
    SourceRow.objects.all().delete()
    Customer.objects.all().delete()


@pytest.mark.usefixtures("snapshot")
def test_it_lies_below_the_transaction_of_a_test(first_sync: FirstSync) -> None:
    """Else this file would hold nothing: the first test of a process has the rows in its own transaction."""
    assert len(connection.savepoint_ids) == bool(first_sync.below)


@pytest.mark.django_db
@pytest.mark.parametrize("time", ["the first time", "the second time"])
def test_a_test_that_does_not_ask_for_it_finds_nothing(time: str) -> None:
    assert [model for model in SYNCED if model._default_manager.exists()] == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("time", ["the first time", "the second time"])
def test_a_test_that_commits_has_it_to_itself_and_leaves_nothing(
    time: str, snapshot: None, first_sync: FirstSync
) -> None:
    assert not connection.in_atomic_block
    assert first_sync.below is None
    assert not Customer.objects.filter(name="Left by a test").exists()
    assert Customer.objects.count() == len(first_sync.rows[1].rows)
    Customer.objects.filter(name="Contoso Trading").update(name="Left by a test")
