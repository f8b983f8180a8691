"""The customer list, one customer, matches, GDAP and the sources."""

import re

from playwright.sync_api import Page, expect

from partnerportal.sandbox import seed
from tests.browser.conftest import CONTOSO, access_of, gdap_was_read, rows, settled, users_of

from .stage import STATES, Stage, page_at, state

AVEPOINT_ONLY = "/customers/ap-77e4dde9-9b3f-4b6c-9d0f-25705db15101/"


def details_of(name: str) -> str:
    """The details of one of the cloud's special customers."""
    return f"/customers/{seed.SPECIAL[name]}/details/"


STATES.update(
    {
        "customers": page_at("/customers/"),
        "customers, the awkward ones": page_at("/customers/?page=4&sort=name"),
        "customers filtered": page_at("/customers/?source=pc&sort=-name"),
        "customers, nothing matches": page_at("/customers/?q=vinyard&source=both"),
        "customers that need attention": page_at("/customers/?view=needs-attention&country=France,Vietnam"),
        "customers with all columns": page_at(
            "/customers/?cols=name,domain,source,country,access,gdap,ap,tenant,owner,codes,tags"
        ),
        "customers, columns without a script": page_at("/customers/columns/"),
        "details": page_at(details_of("contoso")),
        "details for a reader": page_at(details_of("contoso"), "reader"),
        "details of a customer that only AvePoint knows": page_at(f"{AVEPOINT_ONLY}details/?beside=nowhere.example"),
        "matches": page_at("/matches/"),
        "matches for a reader": page_at("/matches/?why=names", "reader"),
        "access": page_at(access_of("union")),
        "access, the group is missing": page_at(access_of("contoso"), "nested"),
        "access, nothing there": page_at(access_of("none")),
        "access, ended": page_at(access_of("expired"), "writer"),
        "access, cannot tell": page_at(access_of("status_expiring"), "writer"),
        "sources": page_at("/sources/"),
        "sources for a reader": page_at("/sources/", "reader"),
    }
)


# --- The customer list --------------------------------------------------------------------------------------


@state
def customers_with_a_menu_open(stage: Stage) -> Page:
    page = stage.open_page("admin", "/customers/?page=2")
    page.locator("summary[aria-label^='Actions for']").first.click()
    expect(page.get_by_role("link", name="Open users")).to_be_visible()
    return page


@state
def customers_choosing_columns(stage: Stage) -> Page:
    page = stage.open_page("admin", "/customers/?page=2")
    page.get_by_role("link", name="Columns").click()
    expect(page.get_by_role("heading", name="Columns of the customer list")).to_be_visible()
    return page


# --- Matches and labels ---------------------------------------------------------------------------------------


@state
def matches_decided_in_place(stage: Stage) -> Page:
    """One linked and one kept apart: both stay in sight until the page is left."""
    page = stage.open_page("admin", "/matches/?show=decided")
    tidy_matches(page)
    page.goto("/matches/?why=name")
    cards = page.get_by_role("article")
    cards.nth(0).get_by_role("button", name="Link").click()
    expect(cards.nth(0).get_by_text("Linked by Maya Okafor")).to_be_visible()
    expect(cards.nth(1)).to_be_focused()
    cards.nth(1).get_by_role("button", name="Keep apart").click()
    expect(cards.nth(1).get_by_text("Kept apart by Maya Okafor")).to_be_visible()
    return page


@state
def matches_decided(stage: Stage) -> Page:
    page = matches_decided_in_place(stage)
    page.goto("/matches/?show=decided")
    rows(page).first.get_by_label("Actions for").click()
    expect(page.get_by_role("button", name="Undo this one").first).to_be_visible()
    page.keyboard.press("Escape")
    return page


@state
def a_match_that_somebody_decided_meanwhile(stage: Stage) -> Page:
    stage.watch.expects(409)
    page = stage.open_page("admin", "/matches/?show=decided")
    tidy_matches(page)
    page.goto("/matches/?why=name")
    late = stage.open_page("writer", "/matches/?why=name")
    page.get_by_role("article").first.get_by_role("button", name="Keep apart").click()
    expect(page.get_by_text("Kept apart by Maya Okafor")).to_be_visible()
    late.get_by_role("article").first.get_by_role("button", name="Link").click()
    expect(late.get_by_role("alert").filter(has_text="Nothing was done.")).to_be_focused()
    return late


@state
def matches_to_confirm(stage: Stage) -> Page:
    """The domains of a customer are read when somebody opens it; the next sync compares them."""
    page = stage.open_page("admin", "/matches/?show=decided")
    tidy_matches(page)
    for name in ("one_user", "readonly"):
        page.goto(users_of(name))
    stage.portal.finish(stage.portal.manage("sync_customers"))
    page.goto("/matches/")
    page.get_by_role("link", name=re.compile("^Confirm (all|the) ")).click()
    expect(page.get_by_role("button", name="Link")).to_be_visible()
    return page


def tidy_matches(page: Page) -> None:
    """Undo what other states have decided; the page shows the decisions."""
    while left := page.get_by_label("Actions for").count():
        page.get_by_label("Actions for").first.click()
        page.get_by_role("button", name="Undo this one").first.click()
        expect(page.get_by_label("Actions for")).to_have_count(left - 1)


@state
def labels_added(stage: Stage) -> Page:
    page = stage.open_page("admin", details_of("contoso"))
    while left := page.get_by_role("button", name="Remove").count():
        with settled(page):
            page.get_by_role("button", name="Remove").first.click()
        expect(page.get_by_role("button", name="Remove")).to_have_count(left - 1)
    for label, text in (("New alias", "Contoso Handel"), ("New internal code", "ERP-4711"), ("New tag", "Retail")):
        page.get_by_label(label).fill(text)
        with settled(page):  # else the focus that follows a swap takes the next key
            page.get_by_label(label).press("Enter")
        expect(page.get_by_role("listitem").filter(has_text=text)).to_be_visible()
        expect(page.get_by_label(label)).to_be_focused()
    return page


@state
def a_label_that_is_there_already(stage: Stage) -> Page:
    stage.watch.expects(422)
    page = labels_added(stage)
    page.get_by_label("New tag").fill("RETAIL")
    page.get_by_role("button", name="Add tag").click()
    expect(page.get_by_text("Retail is there already.").first).to_be_visible()
    expect(page.get_by_label("New tag")).to_be_focused()
    return page


# --- GDAP ---------------------------------------------------------------------------------------------------


@state
def gdap_not_read_yet(stage: Stage) -> Page:
    page = stage.open_page("admin", "/gdap/", at=stage.empty_portal())
    expect(page.get_by_role("heading", name="Nothing has been read yet")).to_be_visible()
    return page


@state
def gdap(stage: Stage) -> Page:
    page = stage.open_page("admin")
    gdap_was_read(page, stage.portal)
    expect(page.get_by_role("table", name="GDAP relationships, page 1")).to_be_visible()
    return page


@state
def gdap_filtered(stage: Stage) -> Page:
    page = gdap(stage)
    page.goto("/gdap/?ends=30&auto=no&customer=coffee")
    expect(rows(page)).to_have_count(1)
    return page


@state
def gdap_nothing_matches(stage: Stage) -> Page:
    page = gdap(stage)
    page.goto("/gdap/?customer=vinyard")
    expect(page.get_by_role("heading", name="No relationship matches")).to_be_visible()
    return page


@state
def gdap_who_can_do_what(stage: Stage) -> Page:
    page = gdap(stage)
    page.get_by_role("link", name="Who can do what").click()
    expect(page.get_by_role("table", name="Who can do what")).to_be_visible()
    return page


@state
def gdap_changes(stage: Stage) -> Page:
    page = gdap(stage)
    stage.sandbox.state("terminate_relationship", tenant_id=CONTOSO)
    page.get_by_role("button", name="Try now").click()
    page.get_by_text("The last read ended").wait_for()
    page.goto("/gdap/?view=changes")
    expect(rows(page).first).to_be_visible()
    return page


@state
def gdap_facts(stage: Stage) -> Page:
    page = gdap(stage)
    page.get_by_role("heading", name="What Microsoft says about GDAP").click()
    expect(page.get_by_text("A relationship lasts two years at most.")).to_be_visible()
    return page


@state
def access_from_our_copy(stage: Stage) -> Page:
    page = gdap(stage)
    stage.sandbox.fault("graph", "status", status=503, times=0)
    page.goto(access_of("union"))
    expect(page.get_by_text("This is from our copy of")).to_be_visible()
    return page


@state
def access_of_somebody_else(stage: Stage) -> Page:
    page = gdap(stage)
    page.goto(access_of("contoso"))
    stage.open_page("nested", access_of("contoso"))  # so that the groups are known
    page.reload()
    page.get_by_label("Ask for").select_option("Jonas Lindqvist")
    expect(page.get_by_text("What Jonas Lindqvist may do here, not you")).to_be_visible()
    return page


@state
def what_the_roles_mean_menu(stage: Stage) -> Page:
    page = stage.open_page("admin", access_of("contoso"))
    page.get_by_text("What the roles mean").click()
    expect(page.get_by_text("may not be enough for some password resets")).to_be_visible()
    return page


@state
def a_source_is_down(stage: Stage) -> Page:
    """Only to look at: the next sync of any test mends it."""
    stage.sandbox.fault("avepoint", "status", status=503, times=0)
    stage.portal.manage("sync_customers").wait()  # which says with its exit code that a source is missing
    stage.sandbox.no_faults()
    page = stage.open_page("admin", "/customers/")
    expect(page.get_by_text("AvePoint is not answering.")).to_be_visible()
    stage.portal.finish(stage.portal.manage("sync_customers"))
    return page


@state
def overview_with_every_picture(stage: Stage) -> Page:
    """The relationships of a year, users created on some days, an unknown outcome, and an old source."""
    stage.open_page("admin", "/").context.close()  # whose operations they are
    stage.portal.finish(stage.portal.manage("shell", "-v0", "-c", PICTURES))
    page = stage.open_page("admin", "/")
    expect(page.get_by_text("We do not know if Maya Lind was created").first).to_be_visible()
    page.get_by_text("Show as a table").click()
    expect(page.get_by_role("columnheader", name="Extends by itself")).to_be_attached()
    stage.portal.finish(stage.portal.manage("shell", "-v0", "-c", NO_PICTURES))
    return page


PICTURES = """
import uuid
from datetime import timedelta
from django.utils import timezone
from customers import snapshot
from customers.models import Customer, GdapRelationship, Source
from partnerportal.models import Operator
from users.models import Operation

now, contoso = timezone.now(), Customer.objects.filter(in_partner_center=True)[0]
GdapRelationship.objects.bulk_create(
    GdapRelationship(id=f"picture-{n}", tenant_id="picture", display_name="Helpdesk", status="active",
                     ends_at=now + timedelta(days=1 + n * n % 400), extends=n % 3 > 0)
    for n in range(300)
)
Source.objects.get_or_create(name="graph", defaults={"last_good_at": now - timedelta(hours=5)})
Operation.objects.bulk_create(
    Operation(op_id=uuid.uuid4(), kind="create", by=Operator.objects.get(name="Maya Okafor"), customer=contoso,
              tenant_id="picture", target_name="Maya Lind", sent_at=now - timedelta(days=n % 9),
              created_at=now - timedelta(days=n % 9, minutes=5),
              state="unknown" if n == 0 else "refused" if n % 7 == 0 else "done")
    for n in range(60)
)
snapshot.changed()
"""

NO_PICTURES = """
from customers import snapshot
from customers.models import GdapRelationship
from users.models import Operation

GdapRelationship.objects.filter(tenant_id="picture").delete()
Operation.objects.filter(tenant_id="picture").delete()
snapshot.changed()
"""


@state
def overview_without_customers(stage: Stage) -> Page:
    page = stage.open_page("admin", "/", at=stage.empty_portal())
    expect(page.get_by_role("button", name="Sync now")).to_be_visible()
    return page


@state
def a_source_that_lists_far_fewer(stage: Stage) -> Page:
    """The question to a Portal.Admin; the next sync clears it."""
    stage.sandbox.state("hide_customers", source="avepoint", fraction=0.8)
    stage.portal.manage("sync_customers").wait()
    stage.sandbox.state("hide_customers", source="avepoint", fraction=0)
    page = stage.open_page("admin", "/sources/")
    expect(page.get_by_role("button", name="It is right, take them away")).to_be_visible()
    stage.portal.finish(stage.portal.manage("sync_customers"))
    return page


@state
def sources_with_a_sync_under_way(stage: Stage) -> Page:
    """No worker runs here, so it waits for the next one who syncs."""
    page = stage.open_page("admin", "/sources/")
    page.get_by_role("button", name="Try Partner Center now").click()
    expect(page.get_by_role("button", name="Cancel sync")).to_be_visible()
    return page


@state
def no_customers_yet(stage: Stage) -> Page:
    page = stage.open_page("admin", "/customers/", at=stage.empty_portal())
    expect(page.get_by_role("heading", name="No customers yet")).to_be_visible()
    return page
