"""Production settings with Django's admin installed."""

from partnerportal.settings import *  # noqa: F403
from partnerportal.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "django.contrib.admin"]
