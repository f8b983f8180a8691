"""Acceptance 2: "why can I not?", and what happens when somebody changes it; and the GDAP page as it is used."""

import re
import time

import pytest
from playwright.sync_api import Page, expect

from scripts.throwaway import Portal
from tests.browser.conftest import OpenPage, Watch, access_of, awkward, gdap_was_read, rows, users_of, writes
from tests.conftest import Cloud


def line(page: Page, action: str) -> str:
    return page.locator(f"#row-{action}").inner_text()


def test_a_no_says_why_and_becomes_a_yes_and_the_write_is_allowed_at_once(
    open_page: OpenPage, sandbox: Cloud, watch: Watch
) -> None:
    watch.expects(403)
    page = open_page("nested", users_of("contoso"))
    page.get_by_role("navigation", name="This customer").get_by_role("link", name="Access").click()
    told = line(page, "patch")
    assert "No" in told
    for part in ("GDAP Helpdesk Tier 1", "User Administrator", "“Helpdesk Tier 1", "An Admin agent"):
        assert part in told
    expect(page.get_by_role("region", name="Text for your lead")).to_contain_text("I need to create users in Contoso")

    edit = open_page("nested", users_of("contoso", f"{awkward('plain')}/edit/"))
    expect(edit.get_by_role("heading", name="You may not change users here")).to_be_visible()
    assert writes(sandbox) == []

    sandbox.state("add_to_group", persona="nested", group="GDAP Helpdesk Tier 1")
    since = time.monotonic()
    page.reload()
    assert "Yes" in line(page, "patch")
    assert time.monotonic() - since < 60

    edit.reload()
    edit.get_by_label("Last name").fill("Vance-Lindqvist")
    edit.get_by_role("button", name="Check before saving").click()
    edit.get_by_role("button", name="Save").click()
    expect(edit.get_by_role("heading", name="was changed")).to_be_visible()
    assert len(writes(sandbox)) == 1


def test_the_request_for_the_lead_is_copied_whole(open_page: OpenPage) -> None:
    page = open_page("nested", permissions=["clipboard-read", "clipboard-write"])
    page.goto(access_of("contoso"))
    page.locator("#row-delete").get_by_role("button", name="Copy request for your lead").click()
    expect(page.locator("#live")).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("I need to delete users in Contoso Trading.\nTenant ID: ")


def test_mondays_check(open_page: OpenPage, portal: Portal) -> None:
    """Tiles are links, the URL alone rebuilds the list, and the rows lead to the reasons."""
    page = open_page("admin")
    gdap_was_read(page, portal)
    page.get_by_role("navigation", name="Relationships by when they end").get_by_role("link", name="30 days").click()
    expect(page).to_have_url(re.compile(r"/gdap/\?ends=30$"))
    shown = rows(page).count()
    assert shown
    other = open_page("nested", "/gdap/?ends=30")
    expect(rows(other)).to_have_count(shown)
    page.get_by_role("link", name="Fourth Coffee").click()
    expect(page.get_by_role("heading", name="What you may do here")).to_be_visible()


def test_the_filters_work_without_a_full_load(open_page: OpenPage, portal: Portal) -> None:
    page = open_page("admin")
    gdap_was_read(page, portal)
    page.evaluate("window.kept = true")
    page.get_by_label("Extends by itself").select_option("yes")
    expect(page).to_have_url(re.compile(r"auto=yes"))
    expect(page.get_by_role("link", name="Remove filter Extends by itself")).to_be_visible()
    assert page.evaluate("window.kept")
    page.go_back()
    expect(page).to_have_url(re.compile(r"/gdap/$"))


@pytest.mark.parametrize("path", ["/gdap/", "/gdap/?view=matrix"])
def test_it_works_without_javascript(open_page: OpenPage, portal: Portal, path: str) -> None:
    gdap_was_read(open_page("admin"), portal)
    page = open_page("admin", path, java_script_enabled=False)
    page.get_by_label("Customer").first.fill("coffee")
    page.get_by_role("button", name="Show").first.click()
    expect(page.locator("#table").get_by_role("link", name="Fourth Coffee")).to_be_visible()
