"""What an ID token must be, and every way in which it may not be that."""

import base64
import hashlib
import json
import time

import jwt
import pytest
from django.conf import settings

from partnerportal import identity
from partnerportal.sandbox import seed
from partnerportal.sandbox.tokens import SigningKey

NONCE = "n-0S6_WzA2Mj"
FOREIGN = seed.FOREIGN_TENANT_ID


@pytest.fixture
def claims():
    """What Entra says of the admin."""
    now = int(time.time())
    return {
        "aud": settings.ENTRA_CLIENT_ID,
        "iss": f"https://login.microsoftonline.com/{settings.ENTRA_TENANT_ID}/v2.0",
        "iat": now,
        "nbf": now,
        "exp": now + 3600,
        "tid": settings.ENTRA_TENANT_ID,
        "oid": seed.PERSONA_OIDS["admin"],
        "name": "Maya Okafor",
        "preferred_username": "maya.okafor@partnerdesk.example",
        "nonce": hashlib.sha256(NONCE.encode()).hexdigest(),
        "roles": ["Portal.Admin"],
    }


@pytest.fixture
def sign(sandbox):
    """Entra signs whatever it is given."""
    return sandbox.running.cloud.key.sign


def test_a_good_token(claims, sign):
    found = identity.verify(sign(claims), nonce=NONCE)
    assert (found.tid, found.oid) == (settings.ENTRA_TENANT_ID, seed.PERSONA_OIDS["admin"])
    assert (found.name, found.email) == ("Maya Okafor", "maya.okafor@partnerdesk.example")
    assert found.roles == ("Portal.Admin",)


@pytest.mark.parametrize(
    "wrong",
    [
        {"aud": "somebody-else"},
        {"aud": None},
        {"iss": "https://login.microsoftonline.com/common/v2.0"},
        {"iss": f"https://evil.example/{seed.PARTNER_TENANT_ID}/v2.0"},
        {"iss": f"https://sts.windows.net/{seed.PARTNER_TENANT_ID}/"},
        {"iss": f"https://login.microsoftonline.com/{FOREIGN}/v2.0"},
        {"iss": None},
        {"tid": FOREIGN},
        {"tid": "not-a-guid"},
        {"tid": None},
        {"oid": None},
        {"oid": "x' OR 1=1"},
        {"nonce": NONCE},
        {"nonce": None},
        {"nonce": "é"},
        {"exp": int(time.time()) - 130},
        {"exp": None},
        {"exp": "soon"},
        {"exp": 2**70},
        {"exp": True},
        {"nbf": int(time.time()) + 7200},
        {"nbf": None},
        {"nbf": -1},
        {"iat": None},
        {"iat": "x"},
    ],
)
def test_one_wrong_claim_is_enough(claims, sign, wrong):
    told = {name: value for name, value in (claims | wrong).items() if value is not None and value is not True}
    if wrong == {"exp": True}:
        told["exp"] = True
    with pytest.raises(identity.NotGenuine) as caught:
        identity.verify(sign(told), nonce=NONCE)
    assert "Maya" not in str(caught.value)


@pytest.mark.parametrize("moved", [{"exp": -100}, {"nbf": 100}])
def test_clocks_may_differ_by_two_minutes(claims, sign, moved):
    for name, seconds in moved.items():
        claims[name] = int(time.time()) + seconds
    assert identity.verify(sign(claims), nonce=NONCE)


def test_another_tenants_token_says_whose_it_is(claims, sign):
    claims |= {"tid": FOREIGN, "iss": f"https://login.microsoftonline.com/{FOREIGN}/v2.0"}
    with pytest.raises(identity.WrongTenant) as caught:
        identity.verify(sign(claims), nonce=NONCE)
    assert caught.value.claims.tid == FOREIGN
    assert "Maya" not in str(caught.value)


def test_a_refreshed_token_has_no_nonce(claims, sign):
    del claims["nonce"]
    assert identity.verify(sign(claims), nonce=None)


def test_a_stranger_cannot_sign(claims, sandbox):
    with pytest.raises(identity.NotGenuine, match="unknown key"):
        identity.verify(SigningKey().sign(claims), nonce=NONCE)


def test_a_stranger_cannot_sign_under_entras_key_id(claims, sandbox):
    forger = SigningKey()
    forger.kid = sandbox.running.cloud.key.kid
    with pytest.raises(identity.NotGenuine, match="InvalidSignatureError"):
        identity.verify(forger.sign(claims), nonce=NONCE)


def relabelled(token, kid):
    """The same body and signature under a header that says RS256."""
    header = base64.urlsafe_b64encode(json.dumps({"alg": "RS256", "kid": kid}).encode()).rstrip(b"=").decode()
    return ".".join([header, *token.split(".")[1:]])


@pytest.mark.parametrize(
    "forge",
    [
        lambda claims, kid: jwt.encode(claims, "", algorithm="none", headers={"kid": kid}),
        lambda claims, kid: jwt.encode(claims, "k" * 32, algorithm="HS256", headers={"kid": kid}),
        lambda claims, kid: relabelled(jwt.encode(claims, "k" * 32, algorithm="HS256"), kid),
        lambda claims, kid: jwt.encode(claims, "k" * 32, algorithm="HS256"),
        lambda claims, kid: "",
        lambda claims, kid: "a.b.c",
        lambda claims, kid: "not a token",
    ],
)
def test_only_rs256_with_a_key_id(claims, sandbox, forge):
    with pytest.raises(identity.NotGenuine):
        identity.verify(forge(claims, sandbox.running.cloud.key.kid), nonce=NONCE)


@pytest.mark.parametrize(
    ("roles", "kept"),
    [
        (["Portal.Admin", "Portal.Reader"], ("Portal.Reader", "Portal.Admin")),
        (["Other.App"], ()),
        ("Portal.Admin", ()),
        (None, ()),
        ([7, {}], ()),
    ],
)
def test_only_our_app_roles_count(claims, sign, roles, kept):
    claims["roles"] = roles
    assert identity.verify(sign(claims), nonce=NONCE).roles == kept


@pytest.mark.parametrize(
    ("told", "name", "email"),
    [
        ({"name": "", "preferred_username": "a@b.example"}, "a@b.example", "a@b.example"),
        ({"name": "", "preferred_username": "", "email": "c@d.example"}, "c@d.example", "c@d.example"),
        ({"name": "", "preferred_username": "", "email": ""}, seed.PERSONA_OIDS["admin"], ""),
        ({"name": "x" * 900}, "x" * 200, "maya.okafor@partnerdesk.example"),
        ({"name": "Ma\x00ya \ud83d", "preferred_username": "a\x00@b.example"}, "Ma\ufffdya ?", "a\ufffd@b.example"),
    ],
)
def test_display_names_are_made_do_with(claims, sign, told, name, email):
    found = identity.verify(sign(claims | told), nonce=NONCE)
    assert (found.name, found.email) == (name, email)


def test_keys_are_asked_for_once_a_day(claims, sign, sandbox, monkeypatch):
    for _ in range(3):
        identity.verify(sign(claims), nonce=NONCE)
    asked = [line["path"] for line in sandbox.journal("entra")]
    assert len([path for path in asked if path.endswith("/keys")]) == 1
    later = time.monotonic() + identity.KEPT + 1
    monkeypatch.setattr(identity.time, "monotonic", lambda: later)
    identity.verify(sign(claims), nonce=NONCE)
    assert len([line for line in sandbox.journal("entra") if line["path"].endswith("/keys")]) == 2


def test_a_new_key_is_found_at_its_first_token(claims, sign, sandbox, monkeypatch):
    identity.verify(sign(claims), nonce=NONCE)
    monkeypatch.setattr(sandbox.running.cloud, "key", SigningKey())
    assert identity.verify(sandbox.running.cloud.key.sign(claims), nonce=NONCE)
