"""A password goes from the desk of one to the phone of another, by a link that works once."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PHONE, OpenPage, Watch, users_of

PASSPHRASE = "blue whale, green tea"


@pytest.fixture
def created(page: Page) -> Page:
    """The page that shows Maya Lind's new password."""
    page.goto(users_of("contoso", "new/"))
    page.get_by_label("First name").fill("Maya")
    page.get_by_label("Last name").fill("Lind")
    page.get_by_role("button", name="Create user").click()
    expect(page.get_by_role("heading", name="Maya Lind was created")).to_be_visible()
    return page


def make_link(page: Page, passphrase: str = "") -> str:
    page.get_by_label("Passphrase").fill(passphrase)
    page.get_by_role("button", name="Make a one-time link").click()
    expect(page.get_by_label("One-time link")).to_be_focused()
    return page.get_by_label("One-time link").input_value()


@pytest.mark.parametrize("with_script", [True, False], ids=["script", "no script"])
def test_created_handed_over_and_opened_by_somebody_who_never_signed_in(
    created: Page, open_page: OpenPage, watch: Watch, with_script: bool
) -> None:
    password = created.get_by_label("Temporary password").input_value()
    link = make_link(created, PASSPHRASE)
    expect(created.get_by_text("Open until")).to_be_visible()

    watch.expects(404, 422)
    phone = open_page("", viewport=PHONE, java_script_enabled=with_script)
    phone.goto(link)
    expect(phone.get_by_role("heading", name="A password is waiting here")).to_be_visible()
    expect(phone.get_by_role("main")).to_contain_text("Maya Okafor left it for M.L.")
    phone.get_by_role("button", name="Show the password").click()
    expect(phone.get_by_text("Type the passphrase.")).to_be_visible()
    phone.get_by_label("Passphrase").fill(PASSPHRASE)
    phone.get_by_role("button", name="Show the password").click()
    expect(phone.get_by_label("Password", exact=True)).to_have_value(password)
    assert phone.context.cookies() == []

    phone.goto(link)
    expect(phone.get_by_role("heading", name="This link does not work")).to_be_visible()
    assert password not in phone.content()

    # Whoever made it sees that it was opened, in the user's history and in the trail.
    created.get_by_role("link", name="Open user").click()
    created.get_by_role("link", name="History").click()
    expect(created.get_by_role("main").get_by_text("Opened", exact=False)).to_be_visible()
    created.get_by_role("main").get_by_role("link", name="Open", exact=True).click()
    expect(created.get_by_role("list", name="Links")).to_contain_text("Opened")
    created.goto("/audit/")
    expect(created.locator("#table tbody").get_by_role("row").first).to_contain_text("Hand-over link opened")


def test_a_link_is_revoked(created: Page, open_page: OpenPage, watch: Watch) -> None:
    link = make_link(created)
    created.get_by_role("button", name="Revoke the link").click()
    expect(created.get_by_text("Revoked unopened")).to_be_visible()
    watch.expects(404)
    stranger = open_page("", link)
    expect(stranger.get_by_role("heading", name="This link does not work")).to_be_visible()


def test_copying_takes_the_link_and_nothing_else(created: Page) -> None:
    created.context.grant_permissions(["clipboard-read", "clipboard-write"])
    link = make_link(created)
    created.get_by_role("button", name="Copy link").click()
    expect(created.locator("#live")).to_have_text("Copied")
    assert created.evaluate("navigator.clipboard.readText()") == link
