"""Which rows of the two sources may be one company, and what people have decided about it."""

import uuid

from django.db import models
from django.db.models import Q

from partnerportal import clock
from partnerportal.models import Operator

from .customers import Customer


class Reason(models.TextChoices):
    """Why two customers may be one company, the strongest first; also the order in which they are shown."""

    DOMAIN = "domain", "Same domain, once on either side"
    NAME = "name", "Same name, once on either side"
    NAMES = "names", "Same name, but not the only one of that name"


CONFIDENCE = {Reason.DOMAIN: "High confidence", Reason.NAME: "Medium confidence", Reason.NAMES: "Low confidence"}


class MatchSuggestion(models.Model):
    """Two customers, one of each source, that may be the same company. Never joined without a person."""

    partner_center = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="+")
    avepoint = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="+")
    reason = models.CharField(max_length=10, choices=Reason)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["partner_center", "avepoint"], name="one_suggestion_a_pair")]
        indexes = [models.Index(fields=["reason", "id"], name="suggestions_in_order")]

    def __str__(self) -> str:
        return f"{self.partner_center} ~ {self.avepoint} ({self.reason})"

    @property
    def shared_domain(self) -> str:
        """The domain for which it was suggested; of the owner, as Partner Center may have several."""
        return self.avepoint.owner_domain

    @property
    def confidence(self) -> str:
        return CONFIDENCE[Reason(self.reason)]


class MatchDecision(models.Model):
    """What somebody has said about two rows: the same company, or not. By the sources' own ids, so syncs leave it be.

    Rows are never deleted: undoing one leaves it as history.
    """

    class Verdict(models.TextChoices):
        LINKED = "linked", "Linked"
        APART = "apart", "Kept apart"

    tenant_id = models.CharField(max_length=36)
    avepoint_id = models.CharField(max_length=120)  # folded, as in SourceRow
    partner_center_name = models.CharField(max_length=400)  # what they were called then
    avepoint_name = models.CharField(max_length=400)
    verdict = models.CharField(max_length=6, choices=Verdict)
    reason = models.CharField(max_length=10, blank=True)  # of the suggestion, if there was one
    batch = models.UUIDField(default=uuid.uuid4)  # decided in one go, and undone in one go
    by = models.ForeignKey(Operator, on_delete=models.PROTECT, related_name="+")
    decided_at = models.DateTimeField(default=clock.now)
    undone_by = models.ForeignKey(Operator, null=True, on_delete=models.PROTECT, related_name="+")
    undone_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant_id", "avepoint_id"], condition=Q(undone_at=None), name="one_decision_a_pair"
            ),
            models.UniqueConstraint(
                fields=["avepoint_id"], condition=Q(undone_at=None, verdict="linked"), name="one_link_an_avepoint_row"
            ),
            models.UniqueConstraint(
                fields=["tenant_id"], condition=Q(undone_at=None, verdict="linked"), name="one_link_a_tenant"
            ),
        ]
        indexes = [models.Index(fields=["batch"])]

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.verdict} {self.avepoint_id}"
