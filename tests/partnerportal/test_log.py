"""What the log says, and what it must never say."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.utils.module_loading import import_string

from partnerportal import log

JWT = "eyJ" + "hbGciOiJSUzI1NiJ9" + ".eyJ" + "zdWIiOiJhIn0" + ".c2lnbmF0dXJl"
SEALED = "gAAAAA" + "Bm" * 40


@pytest.fixture
def written() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """The lines that a logger of ours writes, through the filters and the formatter of the settings."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    for name in settings.LOGGING["handlers"]["stderr"]["filters"]:
        handler.addFilter(import_string(settings.LOGGING["filters"][name]["()"])())
    handler.setFormatter(import_string(settings.LOGGING["formatters"]["json"]["()"])())
    logger = logging.getLogger("partnerportal.test")
    logger.addHandler(handler)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger.removeHandler(handler)


@pytest.mark.parametrize(
    "secret",
    [
        "Authorization: Bearer 0.AXoAq-opaque_token~value",
        f"token {JWT}",
        "POST body client_secret=s3cr3t-value&x=1",
        "form password=Hunter2!Hunter2!",
        "GET /signin/callback/?code=0.AXoA-s3cr3t-value&state=9f8e7d6c5b4a3f2e",
        '{"password": "s3cr3t-value"}',
        "{'refresh_token': 's3cr3t-value', 'n': 1}",
        "amqp://portal:s3cr3t-value@broker.example//",
        f"row {SEALED}",
        "Not Found: /handover/s3cr3t-value/",
        '{"document-uri": "http://127.0.0.1:8000/handover/s3cr3t-value"}',
    ],
)
def test_secrets_are_taken_out(secret):
    told = log.redacted(secret)
    assert log.HIDDEN in told
    for word in ("s3cr3t", "Hunter2", "opaque_token", "zdWIiOiJhIn0", "9f8e7d6c5b4a3f2e", "BmBmBm"):
        assert word not in told


@pytest.mark.parametrize(
    "plain", ["code=2000", "state=sent", "status 403 code 900308", "the password was reset", "https://host:443/path"]
)
def test_words_of_ours_stay(plain):
    assert log.redacted(plain) == plain


def test_a_line_is_one_object_with_the_request_id(written):
    token = log.request_id.set("7c1f")
    logging.getLogger("partnerportal.test").warning("user %s refused", "ann")
    log.request_id.reset(token)
    [line] = written()
    assert line["message"] == "user ann refused"
    assert (line["level"], line["logger"], line["request_id"]) == ("warning", "partnerportal.test", "7c1f")


def test_a_name_cannot_forge_a_line_or_paint_the_terminal(written):
    logging.getLogger("partnerportal.test").warning("customer %s", 'x\n{"level":"error"}\r\x1b[31m\x7f\u202e\u2028')
    [line] = written()
    assert line["message"].startswith("customer x\n")
    raw = log.JsonLines().format(logging.makeLogRecord({"msg": "a\n\x1b\x7f\u2028\u202e"}))
    assert raw.isascii()
    assert raw.isprintable()


def test_a_trace_is_redacted_too(written):
    try:
        raise ValueError("client_secret=s3cr3t-value")
    except ValueError:
        logging.getLogger("partnerportal.test").exception("it broke")
    [line] = written()
    assert "ValueError" in line["trace"]
    assert "s3cr3t" not in json.dumps(line)


def test_arguments_are_redacted_after_they_are_put_in(written):
    logging.getLogger("partnerportal.test").warning("password=%s", "s3cr3t-value")
    assert "s3cr3t" not in json.dumps(written())
