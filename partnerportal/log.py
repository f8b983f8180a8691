"""What the log may say: one JSON object a line, with the request's id and without a secret."""

import json
import logging
import re
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime

# Set by the middleware (a web request) and by Celery's signals (a task); "" outside of both.
request_id: ContextVar[str] = ContextVar("request_id", default="")

HIDDEN = "[hidden]"


def current_request_id() -> str:
    """The id of the request or task that runs here, as the answer's X-Request-ID says it."""
    return request_id.get()


_NAMES = (
    "password|passwd|pwd|client_secret|client_assertion|code_verifier|access_token|refresh_token|id_token|"
    "secret|secret_key|vault_keys|assertion|authorization|cookie|set-cookie"
)
# Short ones are words of ours (code=2000, state=sent); long ones are Entra's.
_LONG_NAMES = "code|state|nonce"
_SECRETS = (
    # Authorization: Bearer …
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=:-]{6,}"), rf"\1 {HIDDEN}"),
    # JSON Web Tokens, signed or encrypted, wherever they stand
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){1,4}"), HIDDEN),
    # name=value in a query, a form or a header
    (re.compile(rf"(?i)(?<![\w-])({_NAMES})=(?!=)[^&\s\"'<>]+"), rf"\1={HIDDEN}"),
    (re.compile(rf"(?i)(?<![\w-])({_LONG_NAMES})=[^&\s\"'<>]{{12,}}"), rf"\1={HIDDEN}"),
    # "name": "value" in JSON and in the repr of a dict
    (re.compile(rf"(?i)([\"'])({_NAMES})\1\s*:\s*([\"'])(?:\\.|(?!\3).)*\3"), rf"\1\2\1: \3{HIDDEN}\3"),
    # user:password@ in an address
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^\s/:@]*):[^\s/@]+@"), rf"\1:{HIDDEN}@"),
    # the address of a one-time link: whoever has it has the password
    (re.compile(r"(?i)(/handover/)[^/\s\"'<>?#]+"), rf"\1{HIDDEN}"),
    # Fernet tokens: what the vault sealed is nobody's business either
    (re.compile(r"\bgAAAAA[A-Za-z0-9_-]{20,}={0,2}"), HIDDEN),
)


def redacted(text: str) -> str:
    """`text` with everything that looks like a token, a password or a code taken out."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


class Redact(logging.Filter):
    """Writes the message out and takes the secrets from it, so that no later handler sees them."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = redacted(record.getMessage())
        record.args = ()
        if record.exc_info and not record.exc_text:
            record.exc_text = "".join(traceback.format_exception(*record.exc_info)).rstrip()
        if record.exc_text:
            record.exc_text = redacted(record.exc_text)
        return True


class RequestId(logging.Filter):
    """Says for which request (or task) the line was written."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


class JsonLines(logging.Formatter):
    """One line, one JSON object. `ensure_ascii` writes line ends and other control characters as escapes,
    so that a customer's name cannot forge a line or paint the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if seen := getattr(record, "request_id", ""):
            entry["request_id"] = seen
        if record.exc_text:
            entry["trace"] = record.exc_text
        return json.dumps(entry, ensure_ascii=True).replace("\x7f", "\\u007f")
