"""Which licences customers have, by name and part number, as far as somebody has read them: shared by all customers.

A template names licences in words. One of a single customer is held against what that customer has; one of all
customers can only be held against what was seen anywhere. Which customer has what is not kept.
"""

from collections.abc import Mapping
from typing import Any

from customers import countries

from .models import SeenSku
from .models.users import fitting


def learn(skus: Mapping[str, Mapping[str, Any]]) -> None:
    """Keep what the licences of a customer are called: SKU id -> {"name", "part"}. Writes only what is new."""
    called = {sku_id: fitting(SeenSku, {"name": sku["name"], "part": sku["part"]}) for sku_id, sku in skus.items()}
    known = {each.pk: {"name": each.name, "part": each.part} for each in SeenSku.objects.filter(pk__in=called)}
    new = [SeenSku(pk=sku_id, **told) for sku_id, told in called.items() if known.get(sku_id) != told]
    changing = ["name", "part"]
    if new:
        SeenSku.objects.bulk_create(new, update_conflicts=True, unique_fields=["sku_id"], update_fields=changing)


def anywhere() -> dict[str, str]:
    """Folded name or part number -> name, of every licence that was seen at a customer."""
    return called([(each.name, each.part) for each in SeenSku.objects.all()])


def called(skus: list[tuple[str, str]]) -> dict[str, str]:
    """Folded name or part number -> name, of licences given as (name, part number)."""
    return {countries.fold(text): name for name, part in skus for text in (name, part) if text}
