"""The app of what all apps share."""

from django.apps import AppConfig


class PartnerPortalConfig(AppConfig):
    name = "partnerportal"
    verbose_name = "Partner Desk"

    def ready(self) -> None:
        # Registers the checks, and makes the Celery app the one that `shared_task` publishes through.
        from . import celery, checks  # noqa: F401
