"""What comes as it came the last time is not read again, and nothing is overlooked for that."""

import json
import random
import zlib
from datetime import timedelta
from types import SimpleNamespace

import msgspec
import pytest
from django.db import transaction

from customers import merge, staging, sync
from customers.models import Customer, KnownStretch, Source, SourceName, SourceRow, SyncRun
from partnerportal import clock
from partnerportal.upstream import avepoint, directory
from partnerportal.upstream.paging import Familiar, Rows, Stretch
from tests.customers.rows import NOON, tenant

pytestmark = pytest.mark.django_db
PC = SourceName.PARTNER_CENTER


@pytest.fixture(autouse=True)
def short_stretches(monkeypatch):
    monkeypatch.setattr(Familiar, "LENGTH", 3)


@pytest.fixture
def read(monkeypatch):
    """The names of the rows that were read since it was last cleared."""
    names, really = [], merge.from_partner_center

    def note(row):
        names.append(row.name)
        return really(row)

    monkeypatch.setattr(merge, "from_partner_center", note)
    return names


def customers(sandbox):
    return list(sandbox.running.cloud.world.customers.values())


def synced(read):
    read.clear()
    run = sync.sync_now()
    assert run.state == SyncRun.State.DONE
    return run


# --- Through the whole of a sync ------------------------------------------------------------------------------


def test_of_a_list_that_comes_as_it_came_nothing_is_read_and_every_row_is_counted(snapshot, sandbox, read):
    synced(read)  # it knows the rows since the fixture's sync, and the stretches since this one
    whole = len(read)
    assert whole == SourceRow.objects.filter(source=PC).count()
    run = synced(read)
    assert read == []
    assert run.rows_seen == SourceRow.objects.count()
    assert Source.objects.get(pk=PC).rows == whole
    assert not SourceRow.objects.exclude(missing_since=None).exists()


def test_of_a_list_in_which_one_was_renamed_a_stretch_is_read_and_the_new_name_is_shown(snapshot, sandbox, read):
    synced(read)
    renamed = customers(sandbox)[4]
    renamed.name = "Quite another name"
    synced(read)
    assert "Quite another name" in read
    assert len(read) == Familiar.LENGTH
    assert Customer.objects.get(tenant_id=renamed.id).name == "Quite another name"


def test_a_name_that_is_changed_and_changed_back_is_shown_as_it_is_each_time(snapshot, sandbox, read):
    renamed = customers(sandbox)[4]
    before = renamed.name
    for name in (before, before, "Another", before, "Another", "Another", before):
        renamed.name = name
        synced(read)
        assert Customer.objects.get(tenant_id=renamed.id).name == name


def test_who_left_and_comes_back_as_before_is_there_again(snapshot, sandbox, read):
    synced(read)
    world = sandbox.running.cloud.world.customers
    [left, *_] = [key for key in world if not SourceRow.objects.filter(source="avepoint", source_id=key).exists()]
    everybody = dict(world)
    del world[left]
    synced(read)
    assert SourceRow.objects.get(source_id=left).missing_since
    world.clear()
    world.update(everybody)
    synced(read)
    assert SourceRow.objects.get(source_id=left).missing_since is None


def test_once_a_day_everything_is_read_and_compared(snapshot, sandbox, read, monkeypatch):
    synced(read)
    SourceRow.objects.filter(source=PC).update(name="Somebody wrote this by hand")
    synced(read)
    assert read == []
    tomorrow = clock.now() + timedelta(days=1)
    monkeypatch.setattr(staging, "clock", SimpleNamespace(now=lambda: tomorrow))
    synced(read)
    assert len(read) == SourceRow.objects.filter(source=PC).count()
    assert not SourceRow.objects.filter(name="Somebody wrote this by hand").exists()


def test_a_walk_that_fails_leaves_what_was_known_of_its_source(snapshot, sandbox, read):
    synced(read)
    before = set(KnownStretch.objects.values_list("pk", flat=True))
    sandbox.fault("partnercenter", kind="status", status=500, times=0, path=r"^/v1/customers$")
    assert sync.sync_now().state == SyncRun.State.FAILED
    assert set(KnownStretch.objects.values_list("pk", flat=True)) == before
    sandbox.no_faults()
    synced(read)
    assert read == []


def test_rows_of_avepoint_that_cannot_be_ours_are_counted_every_time(snapshot, sandbox, monkeypatch):
    really = avepoint._Customer.customer

    def with_a_slash(row):
        found = really(row)
        return msgspec.structs.replace(found, id="a/b") if zlib.crc32(row.id.encode()) % 7 == 0 else found

    monkeypatch.setattr(avepoint._Customer, "customer", with_a_slash)
    counted = []
    for _ in range(3):
        sync.sync_now()
        counted.append(Source.objects.get(pk=SourceName.AVEPOINT).quarantined)
    assert counted[0] > 1
    assert counted == counted[:1] * 3


# --- Row by row -----------------------------------------------------------------------------------------------


def page(rows, familiar):
    """As Partner Center's client reads a page of these (number, name)."""
    items = [{"id": tenant(number), "companyProfile": {"companyName": name}} for number, name in rows]
    raw = msgspec.json.decode(json.dumps(items).encode(), type=list[msgspec.Raw])
    found = Rows(directory.Customer, directory.Customer.row).well(raw, familiar)
    return [Stretch(mark, number, tuple(map(merge.from_partner_center, rows))) for mark, number, rows in found]


def walk(*pages, minutes=0):
    """Puts a whole walk of these pages in place; how many rows were read."""
    with transaction.atomic():
        run = SyncRun.objects.create(state=SyncRun.State.DONE, open=None)
        roll = staging.RollCall(PC)
        stretches = [stretch for rows in pages for stretch in page(rows, roll.familiar)]
        for stretch in stretches:
            staging.stage(run, [stretch], roll)
        merge.put_in_place(run, {PC: roll}, NOON + timedelta(minutes=minutes))
        run.delete()
    return sum(len(stretch.rows) for stretch in stretches)


def told():
    """Number -> (name, "missing" or "gone") of every row."""
    state = {
        row: ("gone" if row.gone_at else "missing" if row.missing_since else "") for row in SourceRow.objects.all()
    }
    return {int(row.source_id[:8], 16): (row.name, word) for row, word in state.items()}


def test_a_stretch_one_row_of_which_came_before_and_different_is_not_known_afterwards():
    rows = [(1, "One"), (2, "Two"), (3, "Three")]
    walk(rows)
    assert (walk(rows), walk(rows)) == (3, 0)
    walk([(2, "Another")], rows)  # of two rows with one id the first counts
    assert told()[2] == ("Another", "")
    assert walk(rows) == 3
    assert told()[2] == ("Two", "")


def test_a_stretch_that_comes_twice_is_counted_once():
    rows = [(1, "One"), (2, "Two"), (3, "Three")]
    walk(rows)
    walk(rows)
    run, roll = SyncRun.objects.create(state=SyncRun.State.DONE, open=None), staging.RollCall(PC)
    staging.stage(run, page(rows * 2, roll.familiar), roll)
    assert staging.count(run, roll) == 3


def test_rows_with_primary_keys_beyond_four_bytes_are_read_every_time():
    roll = staging.RollCall(PC)
    roll.learn(b"mark", [1, staging.MOST_PKS])
    roll.remember()
    assert not KnownStretch.objects.exists()


@pytest.mark.parametrize("seed", range(4))
def test_after_any_changes_each_row_is_as_the_last_walk_told_it(seed):
    chance = random.Random(seed)
    rows = {number: f"Firm {number}" for number in range(1, 40)}
    walk(list(rows.items()))
    expected = {number: (name, "") for number, name in rows.items()}
    unread = 0
    for step in range(12):
        for number in chance.sample(range(1, 45), 3):  # gone, come, renamed, and often as it was before
            if number in rows and chance.random() < 0.4:
                del rows[number]
            else:
                rows[number] = chance.choice(["Firm", "Other"]) + f" {number}"
        walked = sorted(rows.items())
        if chance.random() < 0.3:
            chance.shuffle(walked)
        pages = [walked[:17], walked[17:], walked[:5]]
        unread += sum(map(len, pages)) - walk(*pages, minutes=step + 1)
        for number, (name, word) in expected.items():
            if number not in rows:
                expected[number] = name, "gone" if word else "missing"
        expected |= {number: (name, "") for number, name in rows.items()}
        assert told() == expected, step
    assert unread > 50
