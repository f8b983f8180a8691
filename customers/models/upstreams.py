"""The names of the upstreams that we keep a copy of."""

from django.db import models


class SourceName(models.TextChoices):
    """The two upstreams that list customers."""

    PARTNER_CENTER = "partner_center", "Partner Center"
    AVEPOINT = "avepoint", "AvePoint"


GRAPH = "graph"
"""The GDAP relationships, which Microsoft Graph lists. A `Source` like the other two, but not of customers."""

LABELS: dict[str, str] = {**dict(SourceName.choices), GRAPH: "GDAP"}
