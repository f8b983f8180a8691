"""The portal, and one page that fails as the test says."""

from typing import Any

from django.http import HttpResponse
from django.urls import path

from partnerportal import urls
from partnerportal.http import OperatorRequest
from partnerportal.permissions import Permission, require
from partnerportal.urls import handler400, handler403, handler404, handler500

__all__ = ["handler400", "handler403", "handler404", "handler500", "urlpatterns"]

failure: dict[str, Any] = {}


@require(Permission.VIEW)
def failing(request: OperatorRequest) -> HttpResponse:
    """Raises what the test has put into `failure`."""
    raise failure["error"]


urlpatterns = [path("failing/", failing, name="failing"), *urls.urlpatterns]
