"""The known rows of each order of the list (`ListAnchor`), from which a page is read: noted anew, or moved along.

A known row's place is how many listed customers stand before it. `note` numbers the whole list; when only a few
customers have changed, `shift` moves the places instead.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, pairwise
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
Known = Mapping[str, list[ListAnchor]]
"""Sort key -> the known rows of that order, both ways round."""


# --- All of them --------------------------------------------------------------------------------------------


def note(total: int, empty: Mapping[str, int], keys: Collection[str]) -> None:
    """Note the row at every 500th place of these orders, counted from either end of what has a value.

    `total` customers are listed; of these, `empty` have no value in that order.
    """
    anchors: list[ListAnchor] = []
    for key in keys:
        bare = empty.get(key, 0)
        filled = total - bare
        names = [one for one in anchors if one.sort in ("name", "-name")]
        if bare and not filled and names:  # nobody has a value: the order is that of the names
            [blank] = CustomerQuerySet.EMPTY[key].values()
            anchors += [_renamed(one, one.sort.replace("name", key), blank) for one in names]
            continue
        anchors += _anchors(key, Customer.objects.listed().filled(key), filled, 0)
        anchors += _anchors(key, Customer.objects.listed().filled(key, empty=True), bare, filled)
    _put(keys, anchors)


def _anchors(key: str, part: CustomerQuerySet, size: int, start: int) -> list[ListAnchor]:
    """Of a part of the list that has so many rows and begins at this place."""
    if not size:
        return []
    columns, every = CustomerQuerySet.SORTS[key], ListAnchor.EVERY
    numbered = part.annotate(number=Window(RowNumber(), order_by=[F(name).asc() for name in columns]))
    found = numbered.annotate(up=Mod(F("number") - 1, every), down=Mod(size - F("number"), every))
    anchors = []
    for number, *values in found.filter(Q(up=0) | Q(down=0)).values_list("number", *columns):
        for sort, place in ((key, number - 1), (f"-{key}", size - number)):
            if place % every == 0:
                anchors.append(ListAnchor(sort=sort, place=start + place, values=list(map(_plain, values))))
    return anchors


def _renamed(name: ListAnchor, sort: str, blank: Any) -> ListAnchor:
    return ListAnchor(sort=sort, place=name.place, values=[blank, *name.values])


def _put(keys: Collection[str], anchors: Iterable[ListAnchor]) -> None:
    ListAnchor.objects.filter(sort__in=[sort for key in keys for sort in (key, f"-{key}")]).delete()
    ListAnchor.objects.bulk_create(anchors, batch_size=BATCH)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


# --- After a few have changed -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Standing:
    """Where some customers stand among the known rows, in each order."""

    values: Held
    among: Mapping[str, tuple[list[int], list[int]]]  # sort key -> ids in order: those with a value, those without
    known: Known


def held(ids: Collection[int]) -> Held:
    """What those of these customers that are listed have in each order; one query."""
    names = {name for columns in CustomerQuerySet.SORTS.values() for name in columns}
    rows = list(Customer.objects.listed().filter(pk__in=ids).values(*names))
    return {key: {row["id"]: [row[name] for name in CustomerQuerySet.SORTS[key]] for row in rows} for key in SORTS}


def standing(ids: Collection[int], known: Known | None = None) -> Standing:
    """Asked before a change and, with what was known then, after it. The database puts them in order, for its order of
    texts is its own.
    """
    if known is None:
        known = {key: [] for key in SORTS}
        for one in ListAnchor.objects.all():
            known[one.sort.removeprefix("-")].append(one)
    among = {}
    for key in SORTS:
        here = Customer.objects.listed().filter(pk__in={*ids, *(one.values[-1] for one in known[key])})
        in_order = here.order_by(*CustomerQuerySet.SORTS[key])
        empty = in_order.filled(key, empty=True) if key in CustomerQuerySet.EMPTY else in_order.none()
        filled = in_order.filled(key)
        among[key] = list(filled.values_list("pk", flat=True)), list(empty.values_list("pk", flat=True))
    return Standing(held(ids), among, known)


def shift(before: Standing, after: Standing, total: int, empty: Mapping[str, int]) -> None:
    """Move the places along, for what some customers were and are now. Called when the change is written; the rest
    as for `note`.

    A known row has one fewer before it for each that left a place before it, and one more for each that came. One that
    moved itself is known no longer. An order in which two of them have come too far apart is noted anew.
    """
    along: dict[str, list[ListAnchor]] = {}
    for key in SORTS:
        old, new = before.values[key], after.values[key]
        moved = {pk for pk in old.keys() | new.keys() if old.get(pk) != new.get(pk)}
        if not moved:
            continue
        left, came = _counted(before.among[key], old.keys() & moved), _counted(after.among[key], new.keys() & moved)
        rows = []
        for one in before.known[key]:
            pk, way = one.values[-1], one.sort.startswith("-")
            if pk not in moved and pk in left and pk in came:
                place = one.place - left[pk][way] + came[pk][way]
                rows.append(ListAnchor(sort=one.sort, place=place, values=one.values))
        if _widest(rows, total) > ListAnchor.WIDEST:
            note(total, empty, [key])
        else:
            along[key] = rows
    _put(along, chain.from_iterable(along.values()))


def _widest(known: Collection[ListAnchor], total: int) -> int:
    """The most rows between two known ones of an order, either way round."""
    ways = (sorted(one.place for one in known if one.sort.startswith("-") == down) for down in (False, True))
    return max(after - before for way in ways for before, after in pairwise([0, *way, total]))


def _counted(among: tuple[list[int], list[int]], counted: Collection[int]) -> dict[int, tuple[int, int]]:
    """Id -> how many of the counted ones stand before it, upwards and downwards. Those without a value stand last
    either way.
    """
    found: dict[int, tuple[int, int]] = {}
    start = 0
    for ids in among:
        whole, passed = sum(pk in counted for pk in ids), 0
        for pk in ids:
            is_counted = pk in counted
            found[pk] = start + passed, start + whole - passed - is_counted
            passed += is_counted
        start += whole
    return found


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
