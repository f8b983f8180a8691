"""What templates and the columns beside each other mean for the rows of a file."""

import pytest
from django.urls import reverse

from customers.models import Customer
from partnerportal.models import Operator
from partnerportal.upstream.licences import SubscribedSku
from users import templates
from users.models import OnboardingRun, UserTemplate
from users.onboarding import judge

from ..conftest import tenant
from .test_check import DOMAIN, OTHER, problems, sent, upload

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


@pytest.mark.parametrize("left", [(3, 0), (0, 3)])
def test_of_two_licences_of_one_name_a_row_gets_the_one_with_units_left(left):
    skus = tuple(SubscribedSku(f"sku-{n}", "Office 365 E3", f"E3_{n}", "group1", 3, 3 - n, n, "Enabled") for n in left)
    facts = judge.Facts(domains=frozenset([OTHER]), skus=skus)
    row = {"first_name": "Maya", "domain": OTHER, "usage_location": "NL", "licences": "Office 365 E3"}
    assert judge.judge(row, Customer(key="contoso", domain=OTHER), facts, {}).licences == {"sku-3": "Office 365 E3"}


@pytest.mark.parametrize("value", ["", "Minecraft Education"])
def test_a_row_that_wants_no_licence_is_held_to_a_template_that_requires_one(admin, value):
    defaults(licences=("required", value))
    told = problems(
        sent(admin, (*MAYA, "no"), ("Ann", "Lee", "", "NL", "Minecraft Education"), header=(*HEADER, "licences"))
    )
    assert told == {2: "Licences are required by Contoso Trading’s defaults. Name one", 3: ""}


def test_no_licence_is_required_of_a_row_where_none_is_left():
    rules = {"licences": templates.Rule("required", "", "Contoso’s defaults")}
    facts = judge.Facts(
        domains=frozenset([OTHER]),
        skus=(SubscribedSku("sku", "Office 365 E3", "E3", "group1", 3, 3, 0, "Enabled"),),
    )
    for said in ("no", ""):
        row = {"first_name": "Maya", "domain": OTHER, "usage_location": "NL", "licences": said}
        assert judge.judge(row, Customer(key="contoso", domain=OTHER), facts, rules).problems == []


def test_a_row_whose_user_name_has_another_domain_than_its_cell_is_told_which_one_counts(admin):
    rows = (
        ("Maya", "Lind", f"maya.lind@{OTHER}", "NL", DOMAIN),
        ("Ann", "Lee", f"ann.lee@{OTHER}", "NL", OTHER.upper()),
        ("Bo", "Day", "bo.day", "NL", OTHER),
    )
    run = sent(admin, *rows, header=(*HEADER, "domain"))
    assert set(problems(run).values()) == {""}
    assert [row.user_name.partition("@")[2] for row in run.rows.order_by("line")] == [OTHER] * 3
    told = [[note["sentence"] for note in row.notes] for row in run.rows.order_by("line")]
    assert told == [
        [f"The user name has the domain {OTHER}, so {DOMAIN} in the domain’s cell is not used"],
        [],
        [],
    ]


def test_problem_rows_that_begin_like_formulas_come_back_as_they_were(admin):
    rows = (("-Maya", "Lind", "-maya.lind", "XX"), ("+Zoë", "'Lind", "", "XX"), ("@Bo", "'-Day", "", "XX"))
    typed = {row.line: row.typed for row in sent(admin, *rows, header=HEADER).rows.all()}
    run = OnboardingRun.objects.get()
    answer = admin.get(reverse("run-problems", args=[run.key]))
    file = b"".join(answer.streaming_content)
    assert b"'-maya.lind" in file
    assert upload(admin, file).status_code == 303
    again = OnboardingRun.objects.exclude(pk=run.pk).get()
    assert {row.line: row.typed for row in again.rows.all()} == typed
