"""What templates and the columns beside each other mean for the rows of a file."""

import pytest

from customers.models import Customer
from partnerportal.models import Operator
from users.models import UserTemplate

from ..conftest import tenant
from .test_check import problems, sent

HEADER = ("first_name", "last_name", "user_name", "usage_location")
MAYA = ("Maya", "Lind", "", "NL")


def contoso():
    return Customer.objects.get(tenant_id=tenant("contoso"))


def defaults(**rules):
    """Contoso's defaults: field -> (mode, value)."""
    kept = {name: {"mode": mode, "value": value} for name, (mode, value) in rules.items()}
    UserTemplate.objects.create(customer=contoso(), rules=kept, changed_by=Operator.objects.first())


@pytest.mark.parametrize("mode", ["locked", "hidden"])
def test_a_password_that_need_not_be_changed_is_locked_for_a_file_too(admin, mode):
    defaults(force_change=(mode, "false"))
    rows = ((*MAYA, ""), ("Ann", "Lee", "", "NL", "no"), ("Bo", "Day", "", "NL", "yes"))
    run = sent(admin, *rows, header=(*HEADER, "force_change"))
    told = problems(run)
    assert (told[2], told[3]) == ("", "")
    assert told[4] == "Must change password is locked by Contoso Trading’s defaults: No. Leave the cell empty"
    assert not any(row.force_change for row in run.rows.all())


@pytest.mark.parametrize("mode", ["default", "locked", "hidden"])
def test_passwords_that_a_template_wants_typed_are_made_for_a_file(admin, mode):
    defaults(password_mode=(mode, "typed"))
    assert problems(sent(admin, MAYA, header=HEADER)) == {2: ""}
