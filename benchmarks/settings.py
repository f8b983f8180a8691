"""The tests' settings, and beside the portal the two lists that it is measured against. Never a portal anybody uses."""

from pathlib import Path

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as OURS
from tests.settings import TEMPLATES as TEMPLATES_OF_OURS

CLOCK_OFFSET_FILE = ""  # in production nobody moves the clock, and no page reads a file to know
INSTALLED_APPS = [*OURS, "django.contrib.admin.apps.SimpleAdminConfig", "django_tables2", "django_filters"]
ROOT_URLCONF = "benchmarks.others"
TEMPLATES = [
    {
        **TEMPLATES_OF_OURS[0],
        "DIRS": [*TEMPLATES_OF_OURS[0]["DIRS"], Path(__file__).parent / "templates"],
        "OPTIONS": {
            **TEMPLATES_OF_OURS[0]["OPTIONS"],
            "context_processors": [
                *TEMPLATES_OF_OURS[0]["OPTIONS"]["context_processors"],
                "django.contrib.auth.context_processors.auth",
            ],
        },
    }
]
