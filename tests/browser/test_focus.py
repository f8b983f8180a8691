"""Where the focus goes, and that a task needs no mouse."""

import re

import pytest
from playwright.sync_api import Page, expect

from partnerportal.sandbox import seed
from tests.browser.conftest import (
    Watch,
    focused,
    settled,
    users_of,
    writes,
)
from tests.conftest import Cloud
from users import names

from .test_behaviour import NEW, fill_new


def test_the_focus_stays_on_what_was_pressed(page: Page) -> None:
    page.goto("/customers/")
    with settled(page):
        page.locator("#page-next").press("Enter")
    assert focused(page) == "page-next"
    with settled(page):
        page.locator("#sort-name").press("Enter")
    assert focused(page) == "sort-name"
    expect(page.get_by_role("columnheader", name="Customer")).to_have_attribute("aria-sort", "descending")
    with settled(page):
        page.locator("#page-4").press("Enter")
    expect(page.get_by_text("76–76", exact=True)).to_be_visible()
    with settled(page):
        page.locator("#page-previous").press("Enter")
    with settled(page):
        page.locator("#page-next").press("Enter")  # and there is no Next on the last page
    assert focused(page) == "table"


def test_the_focus_stays_on_next_of_the_users(page: Page) -> None:
    page.goto(users_of("contoso"))
    with settled(page):
        page.locator("#page-next").press("Enter")
    expect(page.locator("#page-next")).to_have_count(0)
    assert focused(page) == "table"
    with settled(page):
        page.locator("#page-previous").press("Enter")
    with settled(page):
        page.locator("#sort-name").press("Enter")
    assert focused(page) == "sort-name"


def test_errors_take_the_focus_and_lead_to_their_fields(page: Page, sandbox: Cloud, watch: Watch) -> None:
    watch.expects(422)
    page.goto(NEW)
    page.get_by_label("Display name").fill("Adele Vance")
    page.get_by_label("Usage location").select_option("")
    page.get_by_label("I type one").check()
    page.get_by_label("Password to set").fill("short")
    page.get_by_role("button", name="Create user").click()
    summary = page.locator(".errsum")
    expect(summary).to_be_focused()
    expect(summary.get_by_role("heading")).to_have_text("The user was not created: fix 3 fields")
    expect(page).to_have_title(re.compile("^Error: New user"))
    for text in summary.get_by_role("link").all_inner_texts():
        expect(page.locator(".err").get_by_text(text)).to_be_visible()
    expect(page.get_by_label("Display name")).to_have_value("Adele Vance")
    expect(page.get_by_label("Password to set")).to_have_value("")
    summary.get_by_role("link", name="Choose a usage location").click()
    assert focused(page) == "id_usage_location"
    expect(page.get_by_label("Usage location")).to_have_accessible_description(re.compile("Choose a usage location"))
    assert writes(sandbox) == []


def test_a_taken_name_is_told_on_its_field_with_free_ones(page: Page, watch: Watch) -> None:
    watch.expects(422)
    page.goto(NEW)
    fill_new(page, "Adele", "Vance")
    page.get_by_label("Domain", exact=True).select_option("contosotrading.example")
    page.get_by_role("button", name="Create user").click()
    expect(page.locator(".errsum")).to_contain_text("The user name adele.vance@contosotrading.example is taken.")
    page.get_by_role("button", name="adele.vance2").click()
    expect(page.get_by_label("User name, part before the at sign")).to_have_value("adele.vance2")
    expect(page.get_by_label("User name, part before the at sign")).to_be_focused()
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", name="Adele Vance was created")).to_be_visible()


def test_the_script_proposes_what_the_server_would(page: Page) -> None:
    page.goto(NEW)
    box = page.get_by_label("User name, part before the at sign")
    people = [
        ("Jürgen", "Groß"),
        ("Søren", "van den Ångström"),
        ("Ə", "’t Hart"),
        ("Иvan", "Lee"),
        ("Ann", ""),
        ("İpek", "Łuk-Le"),
    ]
    for pattern in names.PATTERNS:
        box.evaluate("(box, pattern) => { box.dataset.pattern = pattern; }", pattern)
        for first, last in people:
            fill_new(page, first, last)
            expect(box).to_have_value(names.propose(first, last, pattern))


def test_a_whole_user_name_beside_the_only_domain_is_split_and_any_other_stays(page: Page, sandbox: Cloud) -> None:
    cloud = sandbox.running.cloud.world.customers[seed.SPECIAL["many_groups"]]
    assert cloud.directory.users, "who is made when somebody first looks, with the domains of then"
    cloud.custom_domains = []
    page.goto(users_of("many_groups", "new/"))
    box = page.get_by_label("User name, part before the at sign")
    expect(box).to_have_accessible_description(re.compile(re.escape(cloud.domain)))
    for typed, left in ((f"ann@{cloud.domain.upper()}", "ann"), ("ann@elsewhere.example", "ann@elsewhere.example")):
        box.fill(typed)
        box.press("Tab")
        expect(box).to_have_value(left)


def test_a_task_needs_no_mouse(page: Page, sandbox: Cloud) -> None:
    page.goto(users_of("contoso"))
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to main content")).to_be_focused()
    page.keyboard.press("Enter")
    tab_to(page, "Actions for Abena Bianchi")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Edit", exact=True).first).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_label("Actions for Abena Bianchi")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_label("Phone").focus()
    page.keyboard.type("+00 555 0123")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", name="Check before saving")).to_be_focused()
    tab_to(page, "Save 1 change in Contoso Trading")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Abena Bianchi was changed")).to_be_focused()
    assert len(writes(sandbox)) == 1


def tab_to(page: Page, name: str) -> None:
    for _ in range(60):
        page.keyboard.press("Tab")
        here: str = page.evaluate("document.activeElement.ariaLabel || document.activeElement.innerText || ''")
        if here.strip() == name:
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            return
    pytest.fail(f"Tab never reached {name}")
