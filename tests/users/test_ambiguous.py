"""Every kind of write × every answer that may hide a success: never "failed", looked up, and done once at most.

Microsoft shows what was written only a minute later, which is when the first look-up comes too early.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from partnerportal.sandbox.faults import WITHOUT_EFFECT
from partnerportal.sandbox.seed_licences import ENTERPRISE_E3
from partnerportal.upstream.http import budget
from tests.conftest import Browser
from tests.pages import Page
from users import operations
from users.models import Operation

from .conftest import Directory, edit_url, filled, operation_url, reviewed, shown_password
from .test_deleting import GONA, NAME, delete_url, restore_url
from .test_licensing import held, licences_url
from .test_resetting import ADELE, reset_url

Fields = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """One kind of write: its form, ready to be sent, what pages say of it, and whether the cloud has done it."""

    method: str
    url: str
    form: Callable[[Browser], Fields]
    deed: str  # completes "We do not know if …"
    too_early: str
    is_done: Callable[[Directory], bool]
    can_be_read_back: bool = True


KINDS = {
    "patch": Kind(
        "PATCH",
        edit_url(ADELE),
        lambda browser: reviewed(browser, ADELE, first_name="Adela"),
        "Adele Vance was changed",
        "Nothing has changed yet.",
        lambda directory: directory.special("plain").first_name == "Adela",
    ),
    "reset": Kind(
        "PATCH",
        reset_url(),
        lambda browser: filled(browser, reset_url()),
        "Adele Vance was given a new password",
        "Whether the password was set cannot be read back.",
        lambda directory: directory.special("plain").password != "",
        can_be_read_back=False,
    ),
    "delete": Kind(
        "DELETE",
        delete_url(),
        lambda browser: filled(browser, delete_url(), name=NAME),
        "Adele Vance was deleted",
        "The user is still there.",
        lambda directory: directory.special("plain").deleted_at is not None,
    ),
    "restore": Kind(
        "PATCH",
        restore_url(GONA),
        lambda browser: filled(browser, restore_url(GONA)),
        "Gona Deleted was restored",
        "The user is still deleted.",
        lambda directory: directory.special("deleted").deleted_at is None,
    ),
    "licences": Kind(
        "POST",
        licences_url(),
        lambda browser: {**filled(browser, licences_url()), "sku": [ENTERPRISE_E3.id], "step": "save"},
        "Adele Vance was given other licences",
        "Nothing has changed yet.",
        lambda directory: held(directory) == {ENTERPRISE_E3.id},
    ),
}
BROKE_OFF, FAULT = "Partner Center broke the connection off before it had answered.", "has a fault of its own (500)."
ANSWERS: dict[str, tuple[dict[str, Any], bool, str]] = {  # the fault, whether it did it, what the page says
    "drop_before": ({"kind": "drop_before"}, False, BROKE_OFF),
    "drop_after": ({"kind": "drop_after"}, True, BROKE_OFF),
    "fail_after": ({"kind": "fail_after"}, True, FAULT),
    "500": ({"kind": "status"}, False, FAULT),
    "slow": ({"kind": "slow", "seconds": 1.2, "after": True}, True, "Partner Center did not answer in"),
    "truncate": ({"kind": "truncate"}, True, BROKE_OFF),
    "html": ({"kind": "html"}, False, "Partner Center gave an answer that we cannot read."),
    "empty": ({"kind": "empty"}, True, "Partner Center gave an answer that we cannot read."),
}
# What `test_change.py` has for a patch is not repeated, and the answer to a delete has no body to truncate.
NOT = {("patch", "html"), ("patch", "empty"), ("delete", "truncate")}
CELLS = [(kind, answer) for kind in KINDS for answer in ANSWERS if (kind, answer) not in NOT]


def in_a_hurry(send):
    """The write alone has less time than the slow answer takes; what is asked before it has all of it."""

    def send_fast(*arguments):
        with budget(0.9):
            return send(*arguments)

    return send_fast


@pytest.mark.parametrize(("kind", "answer"), CELLS)
def test_a_write_that_nobody_knows_of_is_looked_up_and_ends_done_once(
    admin, sandbox, directory, move_clock, monkeypatch, kind, answer
):
    kind, (fault, did_it, why) = KINDS[kind], ANSWERS[answer]
    sandbox.state("replication_lag", seconds=60)
    fields = kind.form(admin)
    sandbox.fault("partnercenter", method=kind.method, **fault)

    def step(name):
        return admin.post(operation_url(fields["op_id"]), {"step": name})

    with monkeypatch.context() as patched:
        patched.setattr(operations, "send", in_a_hurry(operations.send))
        page = admin.post(kind.url, fields)
    assert f"We do not know if {kind.deed}" in Page(page).words
    assert why in Page(page).words
    assert Operation.objects.get().state == Operation.State.UNKNOWN
    assert shown_password(page) == ""
    assert kind.is_done(directory) is did_it

    page = step("check")  # too early, whatever became of it
    assert f"We do not know if {kind.deed}" in Page(page).words
    assert kind.too_early in Page(page).words
    if did_it and kind.can_be_read_back:
        move_clock(61)
        page = step("check")
    else:
        page = step("send")
    assert f"{kind.deed} " in Page(page).words
    assert "We do not know" not in Page(page).words
    assert kind.is_done(directory)
    assert Operation.objects.get().state == Operation.State.DONE
    if not kind.can_be_read_back:
        assert shown_password(page) == directory.special("plain").password
    effective = [line for line in directory.writes() if not line["replayed"] and line["fault"] not in WITHOUT_EFFECT]
    assert len(effective) == 1
    assert {line["request_id"] for line in directory.writes()} == {fields["op_id"]}
