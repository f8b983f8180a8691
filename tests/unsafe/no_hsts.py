"""Production settings without HSTS."""

from partnerportal.settings import *  # noqa: F403

SECURE_HSTS_SECONDS = 0
