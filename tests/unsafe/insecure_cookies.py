"""Production settings whose session cookie travels over http."""

from partnerportal.settings import *  # noqa: F403

SESSION_COOKIE_SECURE = False
