"""Several users at once, and new users from a file."""

from typing import Any

from playwright.sync_api import Page, expect

from partnerportal.sandbox import seed
from tests.browser.conftest import users_of

from .stage import STATES, Stage, page_at, state

# --- Several users at once ------------------------------------------------------------------------------------


def tick_two(stage: Stage) -> Page:
    page = stage.open_page("admin", users_of("medium"))
    for box in page.get_by_role("checkbox", name="Select ").all()[:2]:
        box.check()
    return page


def sign_in_anew(page: Page, then: str) -> None:
    """Where the page asks for it; the sign-in of the state before may be young enough. Then presses that button."""
    asked, button = page.get_by_role("link", name="Sign in again to go on"), page.get_by_role("button", name=then)
    expect(asked.or_(button)).to_be_visible()  # the page before may still be standing
    if asked.count():
        asked.click()
        page.get_by_role("button", name="(admin)").click()
    button.click()


@state
def users_ticked(stage: Stage) -> Page:
    page = tick_two(stage)
    expect(page.get_by_text("2 ticked:")).to_be_visible()
    return page


@state
def licences_of_several_users(stage: Stage) -> Page:
    page = tick_two(stage)
    page.get_by_role("button", name="Licences…").click()
    expect(page.get_by_role("heading", name="Licences of 2 users")).to_be_visible()
    return page


@state
def a_run_to_be_checked(stage: Stage) -> Page:
    page = tick_two(stage)
    page.get_by_role("button", name="Delete…").last.click()
    expect(page.get_by_role("heading", name="Delete users: check before anything is sent")).to_be_visible()
    stage.watch.expects(422)
    sign_in_anew(page, then="Delete 2 users")
    expect(page.get_by_text("Type how many users are deleted: 2")).to_be_visible()
    return page


def started(stage: Stage, location: str) -> Page:
    """A run that has begun. Each state takes a country of its own: a worker may still be at the run of the one before,
    and where it has been there is nothing to change.
    """
    page = tick_two(stage)
    page.get_by_role("button", name="Change location…").click()
    page.get_by_label("Usage location").select_option(location)
    page.get_by_role("button", name="Check 2 users").click()
    sign_in_anew(page, then="Change 2 users")
    expect(page.get_by_role("progressbar")).to_be_visible()
    return page


@state
def a_run(stage: Stage) -> Page:
    return started(stage, "AQ")


@state
def runs(stage: Stage) -> Page:
    started(stage, "BV")
    return page_at("/onboarding/")(stage)


@state
def slips_of_a_run(stage: Stage) -> Page:
    page = stage.open_page("admin", "/")
    stage.portal.finish(stage.portal.manage("shell", "-v0", "-c", A_RUN_OF_STARTERS))
    page.goto("/onboarding/?q=Slips")
    page.get_by_role("link", name="Slips").first.click()
    page.get_by_role("link", name="Make links…").click()
    page.get_by_role("button", name="Make links: slips to print").click()
    expect(page.get_by_role("heading", name="1 slip, one for each user")).to_be_visible()
    return page


A_RUN_OF_STARTERS = """
import uuid
from customers.models import Customer
from partnerportal import clock, vault
from partnerportal.models import Operator
from users.models import OnboardingRun, Operation

customer, now, op_id = Customer.objects.filter(in_partner_center=True)[0], clock.now(), uuid.uuid4()
by = Operator.objects.get(name="Maya Okafor")
about = {"customer": customer, "tenant_id": customer.tenant_id, "target_id": str(op_id), "target_name": "Maya Lind"}
done = Operation.objects.create(op_id=op_id, kind="create", state="done", by=by, sets_password=True, decided_at=now,
                                sealed_password=vault.seal("operation", str(op_id), "Of-A-State-1"), **about)
run = OnboardingRun.objects.create(by=by, kind="create", title="Slips", state="done", started_at=now, finished_at=now)
run.rows.create(line=1, op_id=op_id, user_name="maya.lind@contoso.example", state="done", operation=done, **about)
"""


# --- New users from a file ------------------------------------------------------------------------------------


STATES["new users from a file"] = page_at(f"/onboarding/new/?customer={seed.SPECIAL['contoso']}")


def with_file(stage: Stage, text: str) -> Page:
    """The page after a file of this text was sent from Contoso's page."""
    page = stage.open_page("admin", f"/onboarding/new/?customer={seed.SPECIAL['contoso']}")
    file: Any = {"name": "starters.csv", "mimeType": "text/csv", "buffer": text.encode()}
    page.get_by_label("CSV file or Excel workbook").set_input_files(file)
    page.get_by_role("button", name="Check this file").click()
    return page


@state
def a_file_that_is_refused(stage: Stage) -> Page:
    stage.watch.expects(422)
    page = with_file(stage, 'User name,Country\na.b,"DE\n')
    expect(page.get_by_role("alert").get_by_role("heading")).to_have_text("The file was not taken")
    return page


@state
def columns_of_a_file(stage: Stage) -> Page:
    page = with_file(stage, "Wer;Vorname;Mail\nLee;Ann;ann@contosotrading.example\n")
    expect(page.get_by_role("heading", level=1)).to_have_text("What do these columns mean?")
    return page


@state
def a_file_that_was_checked(stage: Stage) -> Page:
    """Checked as the worker does it: one row that is ready, one that is not."""
    page = with_file(stage, "Vorname;Nachname;Benutzername;Land\nZoë;Berg;;NL\nAnn;Lee;ann lee;Deutschlnd\n")
    expect(page.get_by_role("heading", level=1)).to_have_text("Check: starters")
    stage.portal.finish(stage.portal.manage("shell", "-v0", "-c", CHECK_ROWS))
    while page.get_by_role("progressbar").count():  # by the worker, when there is one
        page.wait_for_timeout(250)
        page.reload()
    expect(page.locator("#report").get_by_text("1 of 2 rows are ready. 1 row needs a change")).to_be_visible()
    return page


CHECK_ROWS = """
from users.models import OnboardingCheck
from users.onboarding import check

for one in OnboardingCheck.objects.filter(open=True):
    check.carry_out(one.pk)
"""
