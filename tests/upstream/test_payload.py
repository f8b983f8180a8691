"""Bodies and refusals: each hostile class of TRUST F21 to F28 is one error, each known shape the right one."""

import base64
import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from partnerportal import clock
from partnerportal.upstream.errors import (
    MFA_CODES,
    OUR_FAULT_CODES,
    Broken,
    Conflict,
    Forbidden,
    NotFound,
    Refused,
    SignInAgain,
    Throttled,
    Unintelligible,
    Unreachable,
    UpstreamError,
)
from partnerportal.upstream.http import Answer, Secret
from partnerportal.upstream.payload import decode, expect, guid, moment, parse, parse_well, plain, refusal

from .conftest import BOM

SOURCE = "Partner Center"


class Thing(msgspec.Struct, frozen=True, rename="camel"):
    id: str
    display_name: str = ""


def answer(
    status: int = 200,
    body: bytes | dict[str, Any] | list[Any] | str | None = b"",
    *,
    reads: bool = True,
    source: str = SOURCE,
    secrets: tuple[Secret, ...] = (),
    **headers: str,
) -> Answer:
    return Answer(
        source=source,
        status=status,
        headers=CaseInsensitiveDict({name.replace("_", "-"): value for name, value in headers.items()}),
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
        took=0.5,
        reads=reads,
        request_id="our-request",
        correlation_id="our-correlation",
        secrets=secrets,
    )


# --- Bodies -------------------------------------------------------------------------------------------------


def test_a_bom_is_welcome_and_not_needed() -> None:
    assert parse(answer(200, BOM + b'{"id":"1"}'), Thing) == parse(answer(200, b'{"id":"1"}'), Thing) == Thing("1")


def test_null_is_as_absent_and_unknown_members_are_dropped() -> None:
    found = parse(answer(200, {"id": "1", "displayName": None, "passwordProfile": {"password": "x"}}), Thing)
    assert found == Thing("1", "")


HOSTILE = {
    "empty": b"",
    "blank": b"  \r\n",
    "html": b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>",
    "truncated": b'{"id":"1","disp',
    "two documents": b'{"id":"1"}{"id":"2"}',
    "comments": b'{"id":"1" /* one */}',
    "single quotes": b"{'id':'1'}",
    "trailing comma": b'{"id":"1",}',
    "null": b"null",
    "a list": b"[]",
    "a string": b'"Customer tagging denied."',
    "a number": b"7",
    "id missing": b"{}",
    "id null": b'{"id":null}',
    "id of another type": b'{"id":7}',
    "renamed": b'{"Id":"1"}',
    "member of another type": b'{"id":"1","displayName":{}}',
    "deep list": b"[" * 100_000 + b"]" * 100_000,
    "deep object": b'{"id":"1","x":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
    "65 levels": b'{"id":"1","x":' + b"[" * 65 + b"]" * 65 + b"}",
    "giant int": b'{"id":"1","x":' + b"9" * 5000 + b"}",
    "long int": b'{"id":"1","x":' + b"9" * 31 + b"}",
    "giant float": b'{"id":"1","x":1e999}',
    "giant negative float": b'{"id":"1","x":-1e999}',
    "long float": b'{"id":"1","x":0.' + b"1" * 5000 + b"}",
    "nan": b'{"id":"1","x":NaN}',
    "infinity": b'{"id":"1","x":-Infinity}',
    "lone surrogate": b'{"id":"\\ud800"}',
    "lone low surrogate": b'{"id":"1","\\uDFFF":1}',
    "duplicate member": b'{"id":"1","id":"2"}',
    "control character": b'{"id":"1\x00"}',
    "latin-1": '{"id":"é"}'.encode("latin-1"),
    "utf-16": '{"id":"1"}'.encode("utf-16"),
    "two boms": BOM + BOM + b'{"id":"1"}',
    "binary": bytes(range(256)),
    "xml": b"<?xml version='1.0'?><id>1</id>",
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_body_that_is_not_what_was_promised_is_unintelligible_and_nothing_else(body: bytes) -> None:
    with pytest.raises(Unintelligible) as caught:
        parse(answer(200, body, MS_RequestId="theirs"), Thing)
    error = caught.value
    assert error.ambiguous
    assert error.__context__ is None
    assert (error.status, error.request_id, error.correlation_id) == (200, "theirs", "our-correlation")
    assert str(error) == "Partner Center gave an answer that we cannot read."


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429, 500, 503])
def test_a_refusal_is_read_by_its_status_whatever_its_body(status: int, body: bytes) -> None:
    error = refusal(answer(status, body))
    assert error.status == status
    assert "<" not in str(error)
    assert not isinstance(error, Unintelligible)


@given(st.binary(max_size=200))
def test_no_bytes_at_all_break_the_parser(body: bytes) -> None:
    with contextlib.suppress(ValueError):
        decode(body)
    assert isinstance(refusal(answer(400, body)), Refused)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_any_json_is_a_refusal_when_the_status_says_so(value: Any) -> None:
    error = refusal(answer(403, value))
    assert isinstance(error, Forbidden | Refused)
    assert len(error.description) <= 1024
    assert all(letter.isprintable() for letter in str(error))


def test_a_surrogate_pair_is_an_ordinary_letter() -> None:
    assert parse(answer(200, b'{"id":"\\ud83d\\ude00"}'), Thing).id == "😀"


def test_64_levels_and_an_ordinary_number_are_fine() -> None:
    body = b'{"id":"1","x":' + b"[" * 63 + b"1.5" + b"]" * 63 + b',"y":-12345678901234567890}'
    assert parse(answer(200, body), Thing).id == "1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2017-01-20T00:33:34Z", datetime(2017, 1, 20, 0, 33, 34, tzinfo=UTC)),
        ("2022-02-10T11:24:42.3148266Z", datetime(2022, 2, 10, 11, 24, 42, 314826, tzinfo=UTC)),
        ("2022-02-10T12:24:42.3+01:00", datetime(2022, 2, 10, 11, 24, 42, 300000, tzinfo=UTC)),
        ("2022-02-10T11:24:42", datetime(2022, 2, 10, 11, 24, 42, tzinfo=UTC)),
        ("0001-01-01T00:00:00", None),
        ("0001-01-01T00:00:00+01:00", None),
        ("9998-12-31T23:59:59Z", datetime(9998, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("9998-12-31T23:59:59-01:00", None),
        ("9999-12-31T23:59:59.9999999Z", None),
        ("9999-12-31T23:59:59-01:00", None),
        ("June 24 2016 22:00:25 PST", None),
        ("", None),
    ],
)
def test_a_time_is_read_in_any_of_their_spellings(text: str, expected: datetime | None) -> None:
    assert moment(text) == expected


@pytest.mark.parametrize(
    "value", ["", "1", "../users", "4d3cf487-70f4-4e1e-9ff1-b2bfce8d9f04 ", "4d3cf48770f44e1e9ff1b2bfce8d9f04", "x\n"]
)
def test_only_a_guid_gets_into_a_path(value: str) -> None:
    with pytest.raises(ValueError, match="Not a GUID"):
        guid(value)


def test_a_guid_becomes_lower_case() -> None:
    assert guid("4D3CF487-70F4-4E1E-9FF1-B2BFCE8D9F04") == "4d3cf487-70f4-4e1e-9ff1-b2bfce8d9f04"


# --- Refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (400, {"code": 3000, "description": "Invalid property"}, Refused, "3000"),
        (400, {"code": "2000", "description": "Customer search only allows…"}, Refused, "2000"),
        (400, {"code": 0, "description": "The provided value 'none' is not valid."}, Refused, "0"),
        (400, {"code": 2055, "description": "Etag is no longer valid"}, Conflict, "2055"),
        (
            400,
            {"code": 3000, "description": "Another object with the same value for property userPrincipalName…"},
            Conflict,
            "3000",
        ),
        (409, {"code": 3001}, Conflict, "3001"),
        (412, {}, Conflict, ""),
        (401, {"code": 400, "description": "Access denied"}, SignInAgain, "400"),
        (401, b"", SignInAgain, ""),
        (401, {"code": "900421", "description": "MFA is required for this request."}, SignInAgain, "900421"),
        (403, {"code": 900421}, SignInAgain, "900421"),
        (401, {"code": "900420"}, Refused, "900420"),
        (401, {"code": 800001}, Refused, "800001"),
        (403, {"code": 900329}, Forbidden, "900329"),
        (403, {"code": 900308}, Forbidden, "900308"),
        (403, {"code": 20002}, Forbidden, "20002"),
        (404, {"code": 60002}, NotFound, "60002"),
        (410, b"", NotFound, ""),
        (405, b"", Refused, ""),
        (429, {"statusCode": 429, "message": "Rate limit is exceeded. Try again in 57 seconds."}, Throttled, ""),
        (408, b"", Broken, ""),
        (500, {"code": 900, "description": "x"}, Broken, "900"),
        (501, {"code": 0}, Broken, "0"),
        (503, b"", Broken, ""),
        (302, b"", Unintelligible, ""),
        (206, b"", Unintelligible, ""),
        (103, b"", Unintelligible, ""),
        (600, b"", Unintelligible, ""),
        (400, {"error": {"code": "Request_BadRequest", "message": "m"}}, Refused, "Request_BadRequest"),
        (403, {"error": {"code": "Unauthorized_MissingMFA", "message": "m"}}, SignInAgain, "Unauthorized_MissingMFA"),
        (400, {"error": "invalid_client", "error_description": "AADSTS7000215: bad"}, Refused, "invalid_client"),
        (400, {"error": {"code": {"a": 1}, "message": 7}}, Refused, ""),
        (400, {"code": True, "description": ["x"], "data": "x"}, Refused, ""),
        (400, [1, 2], Refused, ""),
    ],
)
def test_the_status_comes_first_then_the_code(status: int, body: Any, kind: type[UpstreamError], code: str) -> None:
    error = refusal(answer(status, body))
    assert type(error) is kind
    assert error.code == code


@pytest.mark.parametrize(("status", "code"), [(401, "900420"), (401, 800001), (403, 900329)])
def test_a_fault_of_our_configuration_is_never_a_sign_in_loop(status: int, code: Any) -> None:
    error = refusal(answer(status, {"code": code}, MS_RequestId="b1317092-f087-471e-a637-f66523b2b94c"))
    assert error.our_fault
    assert not isinstance(error, SignInAgain)
    assert str(error) == "We had a fault with Partner Center. Tell support this number: b1317092"


def test_the_description_is_unescaped_cleaned_and_bounded() -> None:
    said = {
        "code": 60012,
        "description": "We&#39;re sorry,\r\n it looks like you've run out\x07 of licenses\u202e.",
        "data": ["LicenseQuotaExceededException : x", 7, "&lt;b&gt;"],
    }
    error = refusal(answer(400, said))
    assert error.description == "We're sorry, it looks like you've run out of licenses ."
    assert error.data == ("LicenseQuotaExceededException : x", "<b>")
    assert str(error) == f"Partner Center refused: “{error.description}”"
    assert len(refusal(answer(400, {"description": "x" * 5000})).description) == 1024
    assert len(refusal(answer(400, {"data": ["x"] * 50})).data) == 20


def test_a_bare_string_is_the_description() -> None:
    assert refusal(answer(403, "Customer tagging denied.")).description == "Customer tagging denied."


def test_the_words_of_an_html_page_are_not_shown() -> None:
    error = refusal(answer(403, b"<html>Customer tagging denied</html>"))
    assert error.description == ""
    assert str(error) == "Partner Center does not allow you to do this."


def test_an_answer_that_repeats_our_secrets_is_cleaned() -> None:
    jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
    said = {
        "description": f"Password 'Summer&2026' is weak; token {jwt}; other opaque-token-1",
        "data": ["Summer&2026"],
    }
    error = refusal(answer(400, said, secrets=(Secret("Summer&2026"), Secret("opaque-token-1"), Secret("a"))))
    text = f"{error} {error!r} {vars(error)}"
    assert not any(word in text for word in ("Summer", "eyJ", "opaque-token-1"))
    assert "is weak" in error.description


def test_their_ids_win_over_ours_when_they_are_sane() -> None:
    error = refusal(answer(500, MS_RequestId="theirs-1", MS_CorrelationId="theirs-2"))
    assert (error.request_id, error.correlation_id) == ("theirs-1", "theirs-2")
    error = refusal(answer(500, request_id="graph-1", client_request_id="x y"))
    assert (error.request_id, error.correlation_id) == ("graph-1", "our-correlation")
    error = refusal(answer(500, MS_RequestId="x" * 200))
    assert error.request_id == "our-request"


def test_a_429_without_a_time_gets_one() -> None:
    error = refusal(answer(429))
    assert isinstance(error, Throttled)
    assert 25 < (error.retry_at - clock.now()).total_seconds() <= 30


def challenge(claims: str) -> Answer:
    return answer(401, WWW_Authenticate=f'Bearer realm="", error="insufficient_claims", claims="{claims}"')


def test_a_claims_challenge_is_kept_ready_for_msal() -> None:
    wanted = '{"access_token":{"nbf":{"essential":true,"value":"1604106651"}}}'
    encoded = base64.b64encode(wanted.encode()).decode()
    for spelling in (encoded, encoded.rstrip("="), encoded.replace("+", "-").replace("/", "_")):
        error = refusal(challenge(spelling))
        assert isinstance(error, SignInAgain)
        assert error.claims == wanted


@pytest.mark.parametrize("claims", ["!!!!", "AAAA", "YWJj", "W10=", "A" * 9000, "YWJjZA=x"])
def test_a_claims_challenge_that_is_none_is_dropped(claims: str) -> None:
    error = refusal(challenge(claims))
    assert isinstance(error, SignInAgain)
    assert error.claims == ""


def test_what_is_asked_with_our_own_credentials_never_signs_an_operator_out() -> None:
    for status in (400, 401, 403):
        with pytest.raises(Forbidden) as caught:
            expect(
                answer(status, b"null", source="the GDAP API"), 200, ours="the GDAP API refused: token or permission."
            )
        assert caught.value.our_fault
        assert str(caught.value) == "The GDAP API refused: token or permission."
    with pytest.raises(Broken):
        expect(answer(500), 200, ours="x")
    expect(answer(202), 200, 202)


@pytest.mark.parametrize(
    ("status", "reads", "retryable", "ambiguous"),
    [
        (400, True, False, False),
        (403, False, False, False),
        (408, True, True, True),
        (429, False, True, False),
        (500, True, True, True),
        (501, True, False, True),
        (503, False, False, True),
        (302, False, False, True),
        (206, True, True, True),
    ],
)
def test_what_may_be_asked_again_and_what_may_have_happened(
    status: int, reads: bool, retryable: bool, ambiguous: bool
) -> None:
    error = refusal(answer(status, reads=reads))
    assert (error.retryable, error.ambiguous) == (retryable, ambiguous)


def test_every_error_is_a_sentence() -> None:
    when = datetime(2026, 11, 23, 13, 5, 12, tzinfo=UTC)
    said = {
        Unreachable(source=SOURCE, took=20.2): "Partner Center did not answer in 20 seconds.",
        Unreachable(source="the GDAP API", took=0.2): "The GDAP API did not answer in 1 second.",
        Unreachable(source="AvePoint", sent=False): "AvePoint cannot be reached.",
        SignInAgain(source=SOURCE): "Partner Center asks you to sign in again.",
        SignInAgain(
            source="Microsoft Entra", code="AADSTS50076"
        ): "Microsoft Entra asks you to sign in again with a second factor.",
        Forbidden(source="Microsoft Graph"): "Microsoft Graph does not allow you to do this.",
        NotFound(source=SOURCE): "Partner Center did not find this.",
        Conflict(source=SOURCE): (
            "Partner Center refused this: something else has the same name, or it changed meanwhile."
        ),
        Refused(source=SOURCE, status=405): "Partner Center refused this (405).",
        Refused(source=SOURCE): "Partner Center refused this.",
        Refused(source=SOURCE, our_fault=True): "We had a fault with Partner Center. Tell support this number: none",
        Throttled(source=SOURCE, retry_at=when): "Partner Center asked us to slow down until 13:05:12 UTC.",
        Broken(source=SOURCE, status=503): "Partner Center has a fault of its own (503).",
        Unintelligible(source=SOURCE): "Partner Center gave an answer that we cannot read.",
        UpstreamError(source=SOURCE): "Partner Center did not do what we asked.",
    }
    for error, sentence in said.items():
        assert str(error) == sentence
    assert not UpstreamError(source=SOURCE).ambiguous


def test_plain_text_has_no_second_life_as_html() -> None:
    assert plain("&lt;script&gt;") == "<script>"
    assert plain("&amp;lt;script&amp;gt;") == "&lt;script&gt;"
    assert plain("a\tb\u2028c\ud800d") == "a b c d"


def test_a_character_number_of_thousands_of_digits_is_left_as_it_is() -> None:
    assert plain(f"&#{'9' * 5000}; and &amp;").startswith("&#999")


@pytest.mark.parametrize("echoed", ["Fish&notChips77X", "Fish&amp;notChips77X"])
def test_a_password_is_taken_out_before_entities_are_opened_and_after(echoed: str) -> None:
    told = plain(f"The password {echoed} is too weak", [Secret("Fish&notChips77X")])
    assert told == "The password … is too weak"


CONTRACT_CODES = "0 1000 2000 2006 2032 2055 3000 20002 20003 60000 60002 60003 60012 90000 600006 800002 900118 900150"


def test_every_code_that_we_know_is_explained() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "errors.md").read_text(encoding="utf-8")
    explained = {
        code.strip() for line in page.splitlines() for code in line.split("|")[1:2] for code in code.split(",")
    }
    more = {"900308", "900309", "900316"}
    assert explained >= MFA_CODES | OUR_FAULT_CODES | set(CONTRACT_CODES.split()) | more


# --- Long lists ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", [b"", BOM])
def test_a_good_body_is_read_at_once(mark: bytes) -> None:
    assert parse_well(answer(body=mark + '{"id":"é","other":[{}]}'.encode()), Thing) == Thing("é")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"id":null}',
        b'{"id":"x","displayName":null}',
        b'{"id":7}',
        b'{"id":"\\ud800"}',
        b'{"id":"\xff"}',
        b'{"id":"x","other":NaN}',
        b'{"id":"x","other":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"id":"x"} and more',
        b'{"id":"x"',
    ],
)
def test_a_body_that_is_odd_in_any_way_is_left_to_the_careful_reading(body: bytes) -> None:
    assert parse_well(answer(body=body), Thing) is None
