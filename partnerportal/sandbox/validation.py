"""What Entra accepts in a user (CONTRACT 3.5). Real bodies of these refusals are not public: the texts are ours [A]."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable

_LOCAL = re.compile(r"[A-Za-z0-9'.\-_!#^~]+")
_DOMAIN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.\-]*[A-Za-z0-9])?")
_BANNED = ("password", "passwort", "welcome", "microsoft", "contoso", "qwerty", "letmein", "admin", "summer", "winter")
_LOOKALIKES = str.maketrans("0135$@!", "oleasai")

COUNTRY_CODES = frozenset(
    (
        "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY "
        "BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM "
        "FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IS IT "
        "JE JM JO JP KE KG KH KI KM KN KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN "
        "MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS "
        "PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SZ TC TD TF TG TH TJ TK "
        "TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW"
    ).split()
)


class Invalid(Exception):
    """A value Entra would refuse; the text is what the service says."""


def check_upn(upn: str, domains: Iterable[str], federated: Iterable[str]) -> None:
    """Syntax, lengths, a verified domain, and not a federated one (ENT: concept-sspr-policy; S2)."""
    local, at, domain = upn.partition("@")
    if not at or "@" in domain or not _LOCAL.fullmatch(local) or local.endswith(".") or not _DOMAIN.fullmatch(domain):
        raise Invalid("Property userPrincipalName is invalid.")
    if len(local) > 64 or len(domain) > 48 or len(upn) > 113:
        raise Invalid("Property userPrincipalName is invalid: it is too long.")
    if domain.lower() in {name.lower() for name in federated}:
        raise Invalid("The domain portion of the userPrincipalName property is a federated domain.")
    if domain.lower() not in {name.lower() for name in domains}:
        raise Invalid(
            "The domain portion of the userPrincipalName property is invalid. You must use one of the verified domain "
            "names in your organization."
        )


def check_password(password: str, upn: str) -> None:
    """8 to 256 characters, three of four classes, no Unicode, not the user's name, not a banned word."""
    if not 8 <= len(password) <= 256 or not password.isascii() or not password.isprintable():
        raise Invalid("The specified password does not comply with password complexity requirements.")
    classes = (string.ascii_lowercase, string.ascii_uppercase, string.digits)
    used = sum(any(c in known for c in password) for known in classes)
    used += any(not c.isalnum() for c in password)
    if used < 3:
        raise Invalid("The specified password does not comply with password complexity requirements.")
    local = upn.partition("@")[0].lower()
    if len(local) >= 3 and local in password.lower():
        raise Invalid("The specified password must not contain the user name.")
    plain = password.lower().translate(_LOOKALIKES)
    if any(word in plain and len(plain) - len(word) < 5 for word in _BANNED):
        raise Invalid("Choose a password that's more difficult for people to guess.")


def check_usage_location(code: str) -> None:
    if code.upper() not in COUNTRY_CODES or len(code) != 2:
        raise Invalid("Property usageLocation is invalid.")


def check_display_name(name: str) -> None:
    if not name.strip():
        raise Invalid("Property displayName is required.")
    if len(name) > 256:
        raise Invalid("Property displayName is too long.")


def check_name_lengths(first: str, last: str, phone: str) -> None:
    for label, value in (("firstName", first), ("lastName", last), ("phoneNumber", phone)):
        if len(value) > 64:
            raise Invalid(f"Property {label} is too long.")
