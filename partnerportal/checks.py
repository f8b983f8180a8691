"""What must not start, and the sentence that says what to set instead.

The same twelve refusals stand in front of web (wsgi.py), worker and beat (celery.py) and manage.py. Django's
own `check` shows them too. docs/configuration.md lists them for readers.
"""

import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit
from uuid import UUID

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate
from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured

# Where production may send requests: the services of docs/configuration.md, and Entra's national clouds.
UPSTREAM_HOSTS = frozenset(
    {
        "login.microsoftonline.com",
        "login.microsoftonline.us",
        "login.partner.microsoftonline.cn",
        "api.partnercenter.microsoft.com",
        "partner.partnercenterapi.microsoftonline.cn",
        "graph.microsoft.com",
        "graph.microsoft.us",
        "dod-graph.microsoft.us",
        "microsoftgraph.chinacloudapi.cn",
        "graph.avepointonlineservices.com",
        "identity.avepointonlineservices.com",
        "identity.online15.net",
        "gdapbridge360.azurewebsites.net",
        "dev-gdap.azurewebsites.net",
        "gdapauthservice.azurewebsites.net",
    }
)
_UPSTREAM_DOMAINS = (".avepointonlineservices.com",)  # AvePoint has a host for each of its data centres
_UPSTREAM_SETTINGS = (
    "ENTRA_AUTHORITY",
    "PARTNER_CENTER_URL",
    "GRAPH_URL",
    "AVEPOINT_URL",
    "AVEPOINT_TOKEN_URL",
    "GDAP_API_URL",
    "GDAP_API_AUTH_URL",
)
_SAMPLE_WORDS = ("change-me", "changeme", "example", "sample", "secret-key", "secretkey", "your-", "insecure", "<")
_DO_NOT_TRY_AGAIN = 3  # gunicorn starts a worker again and again unless it ends with this number
_SHARED_AUTHORITIES = ("common", "organizations", "consumers")


def refusals() -> list[str]:
    """Why this must not start; empty when it may."""
    if settings.NOTHING_CONFIGURED:
        return []
    return [sentence for rule in RULES for sentence in rule()]


def refuse_unsafe_start() -> None:
    """Ends the process with the sentences, when there are any."""
    if found := refusals():
        lines = "\n".join(f"  - {sentence}" for sentence in found)
        sys.stderr.write(f"Partner Desk does not start:\n{lines}\nSee docs/configuration.md.\n")
        sys.exit(_DO_NOT_TRY_AGAIN)


@register()
def unsafe_start(app_configs: Sequence[AppConfig] | None, **_kwargs: Any) -> list[CheckMessage]:
    """The refusals as Django's system checks show them."""
    return [Error(sentence, id="partnerportal.E001") for sentence in refusals()]


# --- The twelve ---------------------------------------------------------------------------------------------


def _debug_in_production() -> Iterator[str]:
    if settings.DEBUG and not settings.SANDBOX:
        yield "DEBUG is on in production. Remove DEBUG, or set it to False."


def _sandbox_in_production() -> Iterator[str]:
    if not settings.SANDBOX:
        if settings.CLOCK_OFFSET_FILE:
            yield "CLOCK_OFFSET_FILE moves the clock and is for the sandbox only. Remove it."
        return
    public = [_host(settings.PUBLIC_URL), *settings.ALLOWED_HOSTS]
    if strangers := sorted({host for host in public if host not in ("", "testserver", "*") and not _is_loopback(host)}):
        yield (
            f"The sandbox is on (UPSTREAM_ROUTES is set), but the portal is meant to be reached as {_and(strangers)}. "
            "Remove UPSTREAM_ROUTES for production, or set PUBLIC_URL and ALLOWED_HOSTS to 127.0.0.1."
        )


def _sandbox_leaves_loopback() -> Iterator[str]:
    if not settings.SANDBOX:
        return
    for origin, target in settings.UPSTREAM_ROUTES.items():
        if _split(target).scheme != "http" or not _is_loopback(_host(target)):
            yield f"UPSTREAM_ROUTES sends {origin} to {target}. In the sandbox every target is http://127.0.0.1:<port>."
    for name in _UPSTREAM_SETTINGS:
        if (url := getattr(settings, name)) and _origin(url) not in settings.UPSTREAM_ROUTES:
            yield f"{name} is {url}, which UPSTREAM_ROUTES does not reroute. Add {_origin(url)} to UPSTREAM_ROUTES."


def _unknown_upstream() -> Iterator[str]:
    if settings.SANDBOX:
        return
    for name in _UPSTREAM_SETTINGS:
        if not getattr(settings, name):
            continue
        url = _split(getattr(settings, name))
        if url.scheme != "https" or not _is_upstream(url.hostname or "") or _port(url) != 443 or url.username:
            yield (
                f"{name} is {getattr(settings, name)}, which is not one of the services this portal talks to. "
                f"Set it to https on one of: {', '.join(sorted(UPSTREAM_HOSTS))}."
            )


def _secret_key() -> Iterator[str]:
    key = _key()
    if not key:
        yield "SECRET_KEY is missing. Set it to at least 50 random characters (docs/configuration.md has a command)."
    elif len(key) < 50 or len(set(key)) < 10:
        yield "SECRET_KEY is too short or too plain. Set it to at least 50 random characters."
    elif any(word in key.lower() for word in _SAMPLE_WORDS):
        yield "SECRET_KEY is a sample from a page or a file. Set it to at least 50 random characters of your own."


def _vault_keys() -> Iterator[str]:
    if not settings.VAULT_KEYS:
        yield "VAULT_KEYS is missing. Set it to a Fernet key (docs/configuration.md has a command to make one)."
    for number, key in enumerate(settings.VAULT_KEYS, start=1):
        if key == _key():
            yield "VAULT_KEYS holds the SECRET_KEY. Make a Fernet key for the vault: one leak must not open both."
        elif not _is_fernet(key):
            yield f"Key {number} of VAULT_KEYS is not a Fernet key: 32 random bytes in URL-safe base64."


def _allowed_hosts() -> Iterator[str]:
    if not settings.ALLOWED_HOSTS:
        yield "ALLOWED_HOSTS is empty. Set it to the host name of the portal."
    if wild := [host for host in settings.ALLOWED_HOSTS if "*" in host or host.startswith(".")]:
        yield f"ALLOWED_HOSTS holds {_and(wild)}. Name each host in full: a made-up Host header must not be believed."


def _public_url() -> Iterator[str]:
    url = _split(settings.PUBLIC_URL)
    if not settings.PUBLIC_URL:
        yield "PUBLIC_URL is missing. Set it to the portal's own address, of which the redirect URI is built."
        return
    if not url.hostname or _port(url) is None:
        yield (
            f"PUBLIC_URL is {settings.PUBLIC_URL}, which cannot be read as an address. Set it to the portal's own, "
            "such as https://portal.partner.example."
        )
        return
    if not settings.SANDBOX and url.scheme != "https":
        yield f"PUBLIC_URL is {settings.PUBLIC_URL}. In production it starts with https://."
    if url.path or url.query or url.fragment or url.username:
        yield f"PUBLIC_URL is {settings.PUBLIC_URL}. It is the bare address: scheme, host and port."
    if settings.ALLOWED_HOSTS and url.hostname not in settings.ALLOWED_HOSTS:
        yield f"PUBLIC_URL's host {url.hostname} is not in ALLOWED_HOSTS. Add it there."


def _cookies_and_hsts() -> Iterator[str]:
    if settings.SANDBOX:
        return
    for kind in ("SESSION", "CSRF"):
        if not getattr(settings, f"{kind}_COOKIE_SECURE"):
            yield f"{kind}_COOKIE_SECURE is off. In production it stays True."
        if not getattr(settings, f"{kind}_COOKIE_NAME").startswith("__Host-"):
            yield f"{kind}_COOKIE_NAME does not start with __Host-. In production it does."
        if getattr(settings, f"{kind}_COOKIE_SAMESITE") not in ("Lax", "Strict"):
            yield f"{kind}_COOKIE_SAMESITE is neither Lax nor Strict. Set it to Lax."
    if not settings.THEME_COOKIE_NAME.startswith("__Host-"):
        yield "THEME_COOKIE_NAME does not start with __Host-. In production it does."
    if not settings.SESSION_COOKIE_HTTPONLY:
        yield "SESSION_COOKIE_HTTPONLY is off. It stays True."
    if settings.SECURE_HSTS_SECONDS <= 0:
        yield "SECURE_HSTS_SECONDS is 0. In production it is at least a year, 31536000."
    if not settings.SECURE_SSL_REDIRECT:
        yield "SECURE_SSL_REDIRECT is off. In production it stays True."


def _other_doors() -> Iterator[str]:
    if "django.contrib.admin" in settings.INSTALLED_APPS:
        yield "Django's admin is installed. Remove django.contrib.admin from INSTALLED_APPS: Entra is the only door."
    for backend in settings.AUTHENTICATION_BACKENDS:
        if backend != "partnerportal.signin.EntraBackend":
            yield f"AUTHENTICATION_BACKENDS holds {backend}. Leave partnerportal.signin.EntraBackend alone there."


def _tenant() -> Iterator[str]:
    tenant, authority = settings.ENTRA_TENANT_ID, _split(settings.ENTRA_AUTHORITY)
    if not tenant:
        yield "ENTRA_TENANT_ID is missing. Set it to the id of the partner's own tenant."
    elif tenant in _SHARED_AUTHORITIES:
        yield f"ENTRA_TENANT_ID is {tenant}, which lets every tenant in. Set it to the id of the partner's own tenant."
    elif not _is_id(tenant):
        yield (
            f"ENTRA_TENANT_ID is {tenant}, which is no id. Entra names a tenant by its id alone, so nobody could sign "
            "in. Set it to the Directory (tenant) ID, such as 00000000-0000-4000-8000-000000000001."
        )
    if authority.path.strip("/"):
        yield f"ENTRA_AUTHORITY is {settings.ENTRA_AUTHORITY}. Leave the path away; ENTRA_TENANT_ID names the tenant."


def _certificate() -> Iterator[str]:
    """Of the rules for files: what signs in for us must be there, and be that."""
    if not (path := settings.ENTRA_CLIENT_CERTIFICATE):
        return
    what_to_set = "Set it to the path of a PEM file with both, mode 600, or leave it empty and set ENTRA_CLIENT_SECRET."
    try:
        pem = Path(path).read_bytes()
    except (OSError, ValueError):
        yield f"ENTRA_CLIENT_CERTIFICATE names {path}, which cannot be read. {what_to_set}"
        return
    try:
        load_pem_private_key(pem, password=None)
        load_pem_x509_certificate(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: the key has a password
        yield (
            f"ENTRA_CLIENT_CERTIFICATE names {path}, which does not hold a certificate and a private key without a "
            f"password. {what_to_set}"
        )


def _sqlite_and_files() -> Iterator[str]:
    sqlite = settings.DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3"
    broker = _split(settings.CELERY_BROKER_URL)
    if sqlite and broker.scheme != "filesystem" and not _is_loopback(broker.hostname or "127.0.0.1"):
        yield (
            f"The broker is on another host ({broker.hostname}), so workers may be too, but SQLite is a file of this "
            "host. Set DATABASE_URL to a PostgreSQL, or CELERY_BROKER_URL to filesystem://."
        )
    yield from _certificate()
    for path in _private_files(sqlite):
        if others := _readable_by_others(path):
            yield f"{path} can be read by others (mode {others:o}). Run: chmod 600 {path}"


RULES: tuple[Callable[[], Iterator[str]], ...] = (
    _debug_in_production,
    _sandbox_in_production,
    _sandbox_leaves_loopback,
    _unknown_upstream,
    _secret_key,
    _vault_keys,
    _allowed_hosts,
    _public_url,
    _cookies_and_hsts,
    _other_doors,
    _tenant,
    _sqlite_and_files,
)

# --- What they ask ------------------------------------------------------------------------------------------


def _key() -> str:
    try:
        return str(settings.SECRET_KEY)
    except ImproperlyConfigured:  # Django's word for an empty one
        return ""


def _is_fernet(key: str) -> bool:
    try:
        Fernet(key)
    except ValueError:
        return False
    return True


def _is_id(text: str) -> bool:
    """Whether it is written as Entra writes ids."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _split(url: str) -> SplitResult:
    """The parts of an address; of one that cannot be read, such as https://[::1, none."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _host(url: str) -> str:
    return _split(url).hostname or ""


def _is_upstream(host: str) -> bool:
    return host in UPSTREAM_HOSTS or host.endswith(_UPSTREAM_DOMAINS)


def _origin(url: str) -> str:
    parts = _split(url)
    return f"{parts.scheme}://{parts.netloc}"


def _port(url: Any) -> int | None:
    try:
        return url.port or 443
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _private_files(sqlite: bool) -> Iterator[Path]:
    yield settings.ENV_FILE
    for name in settings.SETTING_NAMES:
        if file := os.environ.get(f"{name}_FILE"):
            yield Path(file)
    if settings.ENTRA_CLIENT_CERTIFICATE:
        yield Path(settings.ENTRA_CLIENT_CERTIFICATE)
    if sqlite:
        yield Path(settings.DATABASES["default"]["NAME"])


def _readable_by_others(path: Path) -> int:
    """The mode of a file that the group or everybody may open; 0 when nobody else may, or there is none."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return 0
    return stat.S_IMODE(mode) if stat.S_ISREG(mode) and mode & 0o077 else 0


def _and(names: Sequence[str]) -> str:
    return " and ".join(names)
