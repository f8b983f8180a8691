"""The known rows of each order of the list (`ListAnchor`), from which a page is read: noted anew, or moved along.

A known row's place is how many listed customers stand before it. `note` numbers the whole list; when only a few
customers have changed, `shift` moves the places instead.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db.models import BooleanField, F, Func, Q, Value, Window
from django.db.models.functions import Mod, RowNumber

from .models import Customer, CustomerQuerySet, ListAnchor

SORTS = tuple(CustomerQuerySet.SORTS)
BATCH = 2_000  # anchors in one statement

Values = Sequence[Any]
"""What a customer has in the columns of one order; its id comes last."""
Held = Mapping[str, Mapping[int, Values]]
"""Sort key -> id -> values, of some listed customers."""


# --- All of them --------------------------------------------------------------------------------------------


def note(total: int, empty: Mapping[str, int], keys: Collection[str]) -> None:
    """Note the row at every 500th place of these orders, counted from either end of what has a value.

    `total` customers are listed; of these, `empty` have no value in that order.
    """
    for key in keys:
        bare = empty.get(key, 0)
        filled = total - bare
        anchors = _anchors(key, Customer.objects.listed().filled(key), filled, 0)
        if bare:
            anchors += _anchors(key, Customer.objects.listed().filled(key, empty=True), bare, filled)
        _put(key, anchors)


def _anchors(key: str, part: CustomerQuerySet, size: int, start: int) -> list[ListAnchor]:
    """Of a part of the list that has so many rows and begins at this place."""
    columns, every = CustomerQuerySet.SORTS[key], ListAnchor.EVERY
    numbered = part.annotate(number=Window(RowNumber(), order_by=[F(name).asc() for name in columns]))
    found = numbered.annotate(up=Mod(F("number") - 1, every), down=Mod(size - F("number"), every))
    anchors = []
    for number, *values in found.filter(Q(up=0) | Q(down=0)).values_list("number", *columns):
        for sort, place in ((key, number - 1), (f"-{key}", size - number)):
            if place % every == 0:
                anchors.append(ListAnchor(sort=sort, place=start + place, values=list(map(_plain, values))))
    return anchors


def _put(key: str, anchors: Iterable[ListAnchor]) -> None:
    ListAnchor.objects.filter(sort__in=(key, f"-{key}")).delete()
    ListAnchor.objects.bulk_create(anchors, batch_size=BATCH)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


# --- After a few have changed -------------------------------------------------------------------------------


def held(ids: Collection[int]) -> Held:
    """Where those of these customers that are listed stand in each order; one query."""
    names = {name for columns in CustomerQuerySet.SORTS.values() for name in columns}
    rows = list(Customer.objects.listed().filter(pk__in=ids).values(*names))
    return {key: {row["id"]: [row[name] for name in CustomerQuerySet.SORTS[key]] for row in rows} for key in SORTS}


def shift(before: Held, after: Held) -> None:
    """Move the places along, for what some customers were and are now. Called when the change is written."""
    for key in SORTS:
        old, new = before[key], after[key]
        moved = {pk for pk in old.keys() | new.keys() if old.get(pk) != new.get(pk)}
        steps = [(held[pk], step) for held, step in ((old, -1), (new, 1)) for pk in moved if pk in held]
        if steps:
            _shift(key, moved, steps)


def _shift(key: str, moved: Collection[int], steps: Sequence[tuple[Values, int]]) -> None:
    """A known row has one fewer before it for each that left a place before it, and one more for each that came."""
    noted = ListAnchor.objects.filter(sort__in=(key, f"-{key}"))
    known = [one for one in noted if one.values[-1] not in moved]  # one that moved is known no longer
    rows = Customer.objects.filter(pk__in={one.values[-1] for one in known})
    for values, step in steps:
        empty = _is_empty(key, values)
        behind = rows.filled(key, empty=empty).filter(from_row(key, values, down=False, empty=empty))
        upwards = set(behind.values_list("pk", flat=True))
        for one in known:
            # What is empty stands last, whichever way the others are sorted.
            if (bare := _is_empty(key, one.values)) != empty:
                is_behind = bare
            else:
                is_behind = (one.values[-1] in upwards) != one.sort.startswith("-")
            one.place += step if is_behind else 0
    _put(key, [ListAnchor(sort=one.sort, place=one.place, values=one.values) for one in known])


def _is_empty(key: str, values: Values) -> bool:
    return key in CustomerQuerySet.EMPTY and values[0] in CustomerQuerySet.EMPTY[key].values()


def from_row(key: str, values: Values, *, down: bool, empty: bool) -> Func:
    """`(domain, sort_name, id) >= (…)`: from this row of the order on, which both databases find in the index."""
    columns = CustomerQuerySet.SORTS[key][empty:]  # where that one is empty, only the others tell rows apart
    given = [
        Value(value, output_field=Customer._meta.get_field(name))  # type: ignore[arg-type]  # noqa: SLF001
        for name, value in zip(columns, _known(key, values)[empty:], strict=True)
    ]
    row = "(%(expressions)s)"
    sides = (Func(*columns, template=row), Func(*given, template=row))
    return Func(*sides, template="%(expressions)s", arg_joiner=" <= " if down else " >= ", output_field=BooleanField())


def _known(key: str, values: Values) -> list[Any]:
    """A known row's values as the database knows them."""
    return [
        Customer._meta.get_field(name).to_python(value)  # type: ignore[union-attr]  # noqa: SLF001
        for name, value in zip(CustomerQuerySet.SORTS[key], values, strict=True)
    ]
