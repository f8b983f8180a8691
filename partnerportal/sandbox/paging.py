"""Continuation tokens of Partner Center's lists: opaque, signed, and only good in their header (CONTRACT 2.2)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from typing import TYPE_CHECKING, Any

from .refusal import Refused

if TYPE_CHECKING:
    from .cloud import Cloud

_SECRET = secrets.token_bytes(32)
LOOP_TOKEN = "AQAAAA=="  # noqa: S105 - what the fault `loop` tells for ever
MAX_SIZE = 500


def pack(cloud: Cloud, path: str, walk: dict[str, Any]) -> str:
    """A token for the page after `walk`; it carries filter, sort and size, for .NET drops them on a seek."""
    raw = json.dumps({**walk, "path": path.lower(), "at": cloud.now().timestamp()}).encode()
    tag = hmac.new(_SECRET, raw, hashlib.sha256).digest()[:12]
    return base64.b64encode(tag + raw).decode()


def unpack(cloud: Cloud, path: str, token: str) -> dict[str, Any]:
    refusal = Refused(int(cloud.assumed["continuation_refusal"]), 2000, "The continuation token is not valid.")
    try:
        raw = base64.b64decode(token, validate=True)
    except ValueError as why:
        raise refusal from why
    tag, raw = raw[:12], raw[12:]
    if not hmac.compare_digest(tag, hmac.new(_SECRET, raw, hashlib.sha256).digest()[:12]):
        raise refusal
    walk: dict[str, Any] = json.loads(raw)
    too_old = cloud.now().timestamp() - walk["at"] > float(cloud.assumed["continuation_seconds"])
    if too_old or walk["path"] != path.lower().rstrip("/"):
        raise refusal
    if cloud.assumed["continuation_once"]:
        if token in cloud.used_continuations:
            raise refusal
        cloud.used_continuations.add(token)
    return walk


def page_size(cloud: Cloud, asked: str, default: int) -> int:
    """1 to 500; 0 and nothing mean the default."""
    if asked in ("", "0"):
        return default
    if (
        not asked.isascii()
        or not asked.isdigit()
        or (int(asked) > MAX_SIZE and cloud.assumed["oversize_page"] != "clamp")
    ):
        raise Refused(400, 2000, f"The provided value '{asked}' is not a valid size.")
    return min(int(asked), MAX_SIZE)
