"""The broker in a folder, and what Celery is told."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from celery.fixups.django import DjangoWorkerFixup
from django.db import connection as database
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.messaging import Consumer

from partnerportal import celery
from partnerportal.broker import Transport


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "broker"


def connection(folder: Path) -> Connection:
    options = celery.transport_options("filesystem://", folder)
    return Connection("filesystem://localhost/", transport=Transport, transport_options=options)


def publish(folder: Path, *bodies: int) -> None:
    queue = Queue("celery", Exchange("celery"), routing_key="celery")
    Transport.global_state.clear()  # kombu remembers per process what it declared, we need it per folder
    with connection(folder) as broker, broker.Producer() as producer:
        for body in bodies:
            producer.publish({"id": body}, routing_key="celery", declare=[queue], serializer="json")


def taken(folder: Path, count: int) -> list[int]:
    found: list[int] = []

    def take(body, message):
        found.append(body["id"])
        message.ack()

    with connection(folder) as broker, Consumer(broker, [Queue("celery", routing_key="celery")], callbacks=[take]):
        for _ in range(count):
            broker.drain_events(timeout=5)
    return found


def test_messages_arrive_in_the_order_they_were_sent(folder):
    publish(folder, *range(20))
    assert taken(folder, 20) == list(range(20))


def test_a_message_that_is_still_being_written_is_not_taken(folder):
    publish(folder, 1)
    [message] = (folder / "messages").iterdir()
    (folder / "messages" / "00000000000000000000_x.part").write_text("")
    assert message.suffix == ".msg"
    assert taken(folder, 1) == [1]


def test_an_exchange_table_is_never_seen_empty(folder):
    publish(folder, 1)
    publish(folder, 2)
    [table] = (folder / "exchanges").iterdir()
    assert json.loads(table.read_text())
    assert taken(folder, 2) == [1, 2]


def test_only_the_owner_reads_the_brokers_folder(folder):
    celery.transport_options("filesystem://", folder)
    assert {path.stat().st_mode & 0o077 for path in folder.iterdir()} == {0}


@pytest.mark.parametrize(
    ("url", "name", "value"),
    [
        ("amqp://broker.example//", "confirm_publish", True),
        ("redis://broker.example/0", "unacked_restore_interval", 1),
        ("rediss://broker.example/0", "unacked_restore_throttle", 1),
    ],
)
def test_each_broker_gets_what_it_needs(url, name, value, folder):
    assert celery.transport_options(url, folder)[name] == value
    assert not folder.exists()


def test_one_code_path_late_acknowledgement_and_ids_only():
    conf = celery.app.conf
    assert conf.task_acks_late
    assert conf.task_reject_on_worker_lost
    assert conf.task_ignore_result
    assert conf.worker_prefetch_multiplier == 1
    assert conf.accept_content == ["json"]
    assert not conf.task_always_eager


def test_every_task_of_the_schedule_exists_and_its_message_expires():
    celery.app.loader.import_default_modules()
    for line in celery.app.conf.beat_schedule.values():
        assert line["task"] in celery.app.tasks
        assert isinstance(line["schedule"], timedelta)
        assert line["options"]["expires"] == line["schedule"].total_seconds()


@pytest.mark.only_on("postgresql")  # a file is opened in no time
@pytest.mark.django_db(transaction=True)
def test_a_worker_keeps_its_connection_from_task_to_task_for_as_long_as_the_settings_say():
    fixup = DjangoWorkerFixup(celery.app)
    database.ensure_connection()
    fixup.close_database()
    assert database.connection
    celery.begin_with_a_good_connection()
    assert database.connection
    database.close_at = 0.0  # its time is over
    celery.begin_with_a_good_connection()
    assert not database.connection
