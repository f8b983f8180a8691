"""The score that MDN Observatory would give, by its published table (TRUST 1.3). HSTS preload would add 5."""

import re

import pytest

from tests.conftest import Browser

# What a page of production would lose: neither of these may ever stand in a policy.
UNSAFE = ("unsafe-inline", "unsafe-eval", "data:", "http:", "https:", "*")


def score(answer):
    """100, and what each header adds; a policy with a hole scores nothing at all."""
    policy = dict(part.strip().split(" ", 1) for part in answer["Content-Security-Policy"].split(";"))
    assert not any(word in value.split() for value in policy.values() for word in (*UNSAFE, *map(repr, UNSAFE)))
    scripts = re.findall(r"<script[^>]*>", answer.content.decode())
    cookies = answer.client.cookies.values()
    earned = {
        "content-security-policy": 10 if policy["default-src"] == "'none'" else 0,
        "cookies": 5 if cookies and all(c["secure"] and c["samesite"] == "Lax" for c in cookies) else 0,
        "referrer-policy": 5 if answer["Referrer-Policy"] == "same-origin" else 0,
        "subresource-integrity": 5 if scripts and all("integrity=" in script for script in scripts) else 0,
        "frame-ancestors": 5 if policy["frame-ancestors"] == "'none'" else 0,
        "cross-origin-resource-policy": 10 if answer["Cross-Origin-Resource-Policy"] == "same-origin" else 0,
        "cross-origin-embedder-policy": 10 if answer["Cross-Origin-Embedder-Policy"] == "require-corp" else 0,
        "cross-origin-opener-policy": 10 if answer["Cross-Origin-Opener-Policy"] == "same-origin" else 0,
    }
    return 100 + sum(earned.values())


@pytest.fixture(autouse=True)
def cookies_as_in_production(settings):
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = True


@pytest.mark.parametrize("path", ["/customers/", "/audit/", "/nowhere/"])
def test_whole_pages_get_160(signed_in, path):
    browser = signed_in("reader", anew=True)
    assert browser.cookies["pd_session"]["httponly"]
    assert score(browser.get(path)) == 160


@pytest.mark.django_db
def test_fragments_and_errors_get_150():
    browser = Browser()
    assert score(browser.get("/session/")) >= 150
    assert score(browser.htmx("get", "/audit/")) >= 150
