"""`manage.py sync_customers`, which `make demo` runs before the portal is served."""

import pytest
from django.core.management import CommandError, call_command

from customers import sync
from customers.models import Customer, SyncRun

pytestmark = pytest.mark.django_db


def test_it_brings_the_customers_once(sandbox, capsys):
    call_command("sync_customers", "--unless-there")
    assert capsys.readouterr().out == f"{Customer.objects.count()} customers\n"
    assert Customer.objects.count() > 50
    call_command("sync_customers", "--unless-there")
    assert SyncRun.objects.count() == 1


def test_it_fails_when_a_source_does(sandbox):
    sandbox.fault("avepoint", "status", status=503, times=0)
    with pytest.raises(CommandError, match="AvePoint"):
        call_command("sync_customers")


def test_it_fails_when_somebody_cancels(sandbox, cast, monkeypatch):
    admin, real = cast("admin"), SyncRun.claim

    def claim_and_cancel(pk):
        held = real(pk)
        assert sync.cancel(held, by=admin)
        return held

    monkeypatch.setattr(SyncRun, "claim", claim_and_cancel)
    with pytest.raises(CommandError, match="cancelled"):
        call_command("sync_customers")
    assert not Customer.objects.exists()
