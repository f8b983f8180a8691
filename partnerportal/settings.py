"""Every setting, read once from the environment.

The names and meanings are in docs/configuration.md; what must not start is in checks.py. There is one
mode switch and it is derived: `UPSTREAM_ROUTES` set means sandbox mode, empty means production.
"""

import contextlib
import os
import secrets
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ

BASE_DIR = Path(__file__).resolve().parent.parent

# What the environment does not say, the file says. `make demo` brings a file of its own.
ENV_FILE = Path(os.environ.get("ENV_FILE", BASE_DIR / ".env"))
environ.Env.read_env(ENV_FILE)

# Every name an operator may set; each may also be given as NAME_FILE. tests/test_interface.py keeps this
# list, .env.example and docs/configuration.md alike.
SETTING_NAMES = (
    "SECRET_KEY",
    "VAULT_KEYS",
    "VAR_DIR",
    "DATABASE_URL",
    "CELERY_BROKER_URL",
    "ALLOWED_HOSTS",
    "PUBLIC_URL",
    "TRUSTED_PROXIES",
    "DEBUG",
    "ENTRA_AUTHORITY",
    "ENTRA_TENANT_ID",
    "ENTRA_CLIENT_ID",
    "ENTRA_CLIENT_SECRET",
    "ENTRA_CLIENT_CERTIFICATE",
    "PARTNER_CENTER_URL",
    "PARTNER_CENTER_SCOPE",
    "PARTNER_CENTER_RESET_PATH",
    "PARTNER_CENTER_RATES",
    "GRAPH_URL",
    "AVEPOINT_URL",
    "AVEPOINT_TOKEN_URL",
    "AVEPOINT_CLIENT_ID",
    "AVEPOINT_CLIENT_SECRET",
    "AVEPOINT_SCOPE",
    "GDAP_API_URL",
    "GDAP_API_TOKEN",
    "GDAP_API_AUTH_URL",
    "GDAP_API_USERNAME",
    "GDAP_API_PASSWORD",
    "ACCESS_CONTACT",
    "EMAIL_URL",
    "EMAIL_FROM",
    "RUNS_KEEP_NAMES_DAYS",
    "UPSTREAM_ROUTES",
    "CLOCK_OFFSET_FILE",
)

# NAME_FILE holds the value of NAME. We read these ourselves: django-environ would keep the newline at the end.
# An empty NAME= of a copied .env.example does not stand in its way.
for _name in SETTING_NAMES:
    if (_file := os.environ.get(f"{_name}_FILE")) and not os.environ.get(_name):
        try:
            os.environ[_name] = Path(_file).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, ValueError):
            sys.exit(f"Partner Desk does not start: {_name}_FILE names {_file}, which cannot be read. Check the path.")

# An empty value means "not set", as in .env.example. Only one name has a meaning when it is empty.
for _name in SETTING_NAMES:
    if os.environ.get(_name) == "" and _name != "PARTNER_CENTER_RESET_PATH":
        del os.environ[_name]

env = environ.Env()

VAR_DIR = Path(env.str("VAR_DIR", default="") or BASE_DIR / "var")

# These commands look at no secret and no upstream, so they run with nothing configured at all.
_BARE_COMMANDS = {"sandbox", "check", "makemigrations", "collectstatic", "help", "version", "--help", "--version"}
NOTHING_CONFIGURED = (
    Path(sys.argv[0]).name == "manage.py"
    and len(sys.argv) > 1
    and sys.argv[1] in _BARE_COMMANDS
    and not any(os.environ.get(name) for name in SETTING_NAMES)
)

# --- Mode ---------------------------------------------------------------------------------------------------


def _routes() -> dict[str, str]:
    """UPSTREAM_ROUTES, which must be readable before anything can be refused in a better place."""
    try:
        routes = env.json("UPSTREAM_ROUTES", default={})
    except ValueError:
        routes = None
    if not isinstance(routes, dict) or not all(isinstance(target, str) for target in routes.values()):
        sys.exit(
            "Partner Desk does not start: UPSTREAM_ROUTES is not a JSON object of origins. Remove it for production; "
            'for the sandbox it looks like {"https://graph.microsoft.com": "http://127.0.0.1:8001"}.'
        )
    return routes


UPSTREAM_ROUTES: dict[str, str] = _routes()
SANDBOX = bool(UPSTREAM_ROUTES)
CLOCK_OFFSET_FILE = env.str("CLOCK_OFFSET_FILE", default="")

# --- Numbers ------------------------------------------------------------------------------------------------


def _number(name: str, default: int, *, least: int, most: int, meaning: str) -> int:
    """A setting that is a whole number within bounds; anything else does not start."""
    said = env.str(name, default=str(default)).strip()
    if not (said.isascii() and said.isdigit() and len(said) < 10 and least <= int(said) <= most):
        sys.exit(f"Partner Desk does not start: {name} is {said}, which is no number from {least} to {most}. {meaning}")
    return int(said)


# --- The pace of runs ---------------------------------------------------------------------------------------


def _partner_center_rates() -> tuple[float, float]:
    """PARTNER_CENTER_RATES: requests a second of all runs together, to one customer and to all of them."""
    said = env.str("PARTNER_CENTER_RATES", default="8,40")
    try:
        to_one, to_all = map(float, said.split(","))
    except ValueError:
        to_one = to_all = 0
    if not 0.01 <= to_one <= to_all < 1_000_000:  # one in a few minutes is as slow as a pace can be planned
        sys.exit(
            f"Partner Desk does not start: PARTNER_CENTER_RATES is {said}, which is not two numbers as in 8,40. Say "
            "how many requests a second (0.01 at least) may go to one customer, and, not less, how many to all "
            "customers together."
        )
    return to_one, to_all


# --- Core ---------------------------------------------------------------------------------------------------

SECRET_KEY = env.str("SECRET_KEY", default="") or (secrets.token_urlsafe(50) if NOTHING_CONFIGURED else "")
VAULT_KEYS: list[str] = [key.strip() for key in env.list("VAULT_KEYS", default=[]) if key.strip()]
DEBUG = env.bool("DEBUG", default=False)
# A browser names a host in small letters, so checks.py compares with those.
ALLOWED_HOSTS: list[str] = [host.strip().lower() for host in env.list("ALLOWED_HOSTS", default=[]) if host.strip()]
PUBLIC_URL = env.str("PUBLIC_URL", default="").rstrip("/")
try:
    _public = urlsplit(PUBLIC_URL)
except ValueError:  # such as https://[::1, which checks.py refuses
    _public = urlsplit("")
TRUSTED_PROXIES = _number(  # how many entries at the end of X-Forwarded-For are our own proxies' word
    "TRUSTED_PROXIES",
    0,
    least=0,
    most=9,
    meaning="Say how many proxies stand in front of it and add to X-Forwarded-For; without one, leave it empty.",
)
ROOT_URLCONF = "partnerportal.urls"
WSGI_APPLICATION = "partnerportal.wsgi.application"
AUTH_USER_MODEL = "partnerportal.Operator"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "partnerportal",
    "customers",
    "users",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_htmx",
    "template_partials",
    "csp",
]

MIDDLEWARE = [
    "partnerportal.middleware.answer_headers",
    "csp.middleware.CSPMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "partnerportal.middleware.public_host",
    "partnerportal.middleware.Sessions",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "partnerportal.middleware.session_limits",
    "partnerportal.middleware.own_preferences",
    "partnerportal.middleware.body_limits",
    "partnerportal.middleware.same_origin_only",
    "partnerportal.middleware.SignInRequired",
    "customers.middleware.keep_gdap_fresh",
    "partnerportal.middleware.upstream_budget",
    "partnerportal.middleware.UpstreamErrors",
]

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.messages.context_processors.messages",
                "partnerportal.nav.chrome",
            ],
        },
    }
]

# --- Data ---------------------------------------------------------------------------------------------------

if not NOTHING_CONFIGURED:
    VAR_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)


def _database() -> dict[str, Any]:
    """DATABASE_URL, SQLite in a file of ours without one."""
    found: dict[str, Any] = {}
    with contextlib.suppress(environ.ImproperlyConfigured, ValueError):  # such as a port that is none
        found = env.db_url("DATABASE_URL", default=f"sqlite:///{VAR_DIR / 'portal.sqlite3'}")
    if found.get("ENGINE") not in ("django.db.backends.sqlite3", "django.db.backends.postgresql"):
        sys.exit(
            "Partner Desk does not start: DATABASE_URL is neither PostgreSQL nor SQLite. Write "
            "postgres://user:password@host:5432/name."
        )
    return found


DATABASES = {"default": _database()}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # IMMEDIATE: with the default, a read that turns into a write fails at once when another process writes.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;",
    }
else:
    DATABASES["default"].update({"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True})

# --- Time and language --------------------------------------------------------------------------------------

LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

# --- Static files -------------------------------------------------------------------------------------------

STATIC_URL = "/static/"
STATIC_ROOT = VAR_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

# --- Sign-in and sessions -----------------------------------------------------------------------------------

AUTHENTICATION_BACKENDS = ["partnerportal.signin.EntraBackend"]
LOGIN_URL = "signin"
SESSION_ENGINE = "partnerportal.session_store"
SESSION_IDLE = timedelta(minutes=30)
SESSION_ABSOLUTE = timedelta(hours=12)
SESSION_COOKIE_AGE = int(SESSION_ABSOLUTE.total_seconds())
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_FAILURE_VIEW = "partnerportal.views.csrf_failure"
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
SESSION_COOKIE_NAME = "pd_session" if SANDBOX else "__Host-pd_session"
CSRF_COOKIE_NAME = "pd_csrf" if SANDBOX else "__Host-pd_csrf"
THEME_COOKIE_NAME = "pd_theme" if SANDBOX else "__Host-pd_theme"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not SANDBOX

# --- What a browser is told ---------------------------------------------------------------------------------

SECURE_SSL_REDIRECT = not SANDBOX
SECURE_REDIRECT_EXEMPT = [r"^livez$", r"^readyz$"]
SECURE_HSTS_SECONDS = 0 if SANDBOX else 63_072_000
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = not SANDBOX
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL] if _public.scheme in ("http", "https") else []
CONTENT_SECURITY_POLICY: dict[str, Any] = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
        "report-uri": "/csp-report/",
    }
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 256 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 200
# A file that is sent is never written to the disk: there is no handler that would. `middleware.body_limits` says how
# large it may be, so nothing that gets here is larger than this.
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.MemoryFileUploadHandler"]
FILE_UPLOAD_MAX_MEMORY_SIZE = 6 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FILES = 1

# --- Upstreams ----------------------------------------------------------------------------------------------

ENTRA_AUTHORITY = env.str("ENTRA_AUTHORITY", default="https://login.microsoftonline.com").rstrip("/")
ENTRA_TENANT_ID = env.str("ENTRA_TENANT_ID", default="").lower()
ENTRA_CLIENT_ID = env.str("ENTRA_CLIENT_ID", default="")
ENTRA_CLIENT_SECRET = env.str("ENTRA_CLIENT_SECRET", default="")
ENTRA_CLIENT_CERTIFICATE = env.str("ENTRA_CLIENT_CERTIFICATE", default="")
PARTNER_CENTER_URL = env.str("PARTNER_CENTER_URL", default="https://api.partnercenter.microsoft.com").rstrip("/")
PARTNER_CENTER_SCOPE = env.str(
    "PARTNER_CENTER_SCOPE", default="https://api.partnercenter.microsoft.com/user_impersonation"
)
PARTNER_CENTER_RESET_PATH = env.str("PARTNER_CENTER_RESET_PATH", default="resetpassword").strip("/")
PARTNER_CENTER_RATES = _partner_center_rates()
GRAPH_URL = env.str("GRAPH_URL", default="https://graph.microsoft.com/v1.0").rstrip("/")
AVEPOINT_URL = env.str("AVEPOINT_URL", default="https://graph.avepointonlineservices.com").rstrip("/")
AVEPOINT_TOKEN_URL = env.str("AVEPOINT_TOKEN_URL", default="https://identity.avepointonlineservices.com/connect/token")
AVEPOINT_CLIENT_ID = env.str("AVEPOINT_CLIENT_ID", default="")
AVEPOINT_CLIENT_SECRET = env.str("AVEPOINT_CLIENT_SECRET", default="")
AVEPOINT_SCOPE = env.str("AVEPOINT_SCOPE", default="partner.customers.read.all")
GDAP_API_URL = env.str("GDAP_API_URL", default="https://gdapbridge360.azurewebsites.net/api/").rstrip("/") + "/"
GDAP_API_TOKEN = env.str("GDAP_API_TOKEN", default="")
GDAP_API_AUTH_URL = env.str("GDAP_API_AUTH_URL", default="https://gdapauthservice.azurewebsites.net/api/Auth")
GDAP_API_USERNAME = env.str("GDAP_API_USERNAME", default="")
GDAP_API_PASSWORD = env.str("GDAP_API_PASSWORD", default="")
ACCESS_CONTACT = env.str("ACCESS_CONTACT", default="an Admin agent")

try:
    vars().update(env.email("EMAIL_URL", default="consolemail://"))
except (environ.ImproperlyConfigured, ValueError):
    sys.exit("Partner Desk does not start: EMAIL_URL is no mail server. Write smtp+tls://user:password@host:587.")
EMAIL_TIMEOUT = 20  # seconds
DEFAULT_FROM_EMAIL = env.str("EMAIL_FROM", default=f"noreply@{_public.hostname or 'localhost'}")

RUNS_KEEP_NAMES = timedelta(
    days=_number(
        "RUNS_KEEP_NAMES_DAYS",
        90,
        least=1,
        most=36_500,
        meaning="Say how many days after its end a run forgets whom it was about; 36500 are a hundred years.",
    )
)

UPSTREAM_BUDGET = 30.0  # seconds for all upstream calls of one request together
UPSTREAM_CONNECT_TIMEOUT = 5.0  # seconds
UPSTREAM_RIGHTS_BUDGET = 8.0  # seconds of the budget that the rights check may take
UPSTREAM_BODY_LIMIT = 20 * 1024 * 1024  # bytes, unpacked
UPSTREAM_PAGE_LIMIT = 1_000  # pages in one walk
CUSTOMER_PAGE_LIMIT = (
    5_000  # of lists that grow with the customers: a million are 2,000 pages, or 3,334 of relationships
)
SIGN_IN_STARTS_A_MINUTE = 30  # from one address; `rates.py`
WRITES_A_MINUTE = 60  # that one person may send by hand; nobody types faster, a script does
HANDOVER_REQUESTS_A_MINUTE = 30  # of one address at one-time links
ONBOARDING_FILE_LIMIT = 5 * 1024 * 1024  # bytes of a file, and of the text in it
ONBOARDING_ROWS = 5_000  # of one file
ONBOARDING_ROW_LIMIT = 64 * 1024  # bytes of one row
ONBOARDING_UNPACKED_LIMIT = 50 * 1024 * 1024  # bytes of a workbook, unpacked
ONBOARDING_FILES_AN_HOUR = 10  # that one person may send

# --- Background work ----------------------------------------------------------------------------------------

CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", default="filesystem://")
SYNC_EVERY = timedelta(minutes=15)
REPUBLISH_EVERY = timedelta(seconds=30)
RUNS_EVERY = timedelta(seconds=10)
PURGE_EVERY = timedelta(seconds=60)
AUDIT_VERIFY_EVERY = timedelta(hours=1)

# --- Log ----------------------------------------------------------------------------------------------------

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "redact": {"()": "partnerportal.log.Redact"},
        "request_id": {"()": "partnerportal.log.RequestId"},
    },
    "formatters": {"json": {"()": "partnerportal.log.JsonLines"}},
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "filters": ["redact", "request_id"],
            "formatter": "json",
        }
    },
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        # At DEBUG these two print tokens and bodies.
        "msal": {"level": "WARNING"},
        "urllib3": {"level": "WARNING"},
        "celery": {"level": "INFO"},
    },
}
