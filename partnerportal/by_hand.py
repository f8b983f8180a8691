"""The few statements that every row of a run or every request needs, without the ORM's part of the work (decision 30).

Django writes the SQL of a query anew each time, which takes longer than to carry it out. Here it is written once. What
goes in and what comes out is as with a QuerySet: fields adapt and convert values, and rows are model instances. It is
for what thousands of rows or all pages do; everywhere else a QuerySet says it better.
"""
# ruff: noqa: SLF001 (Django's own description of a model, which is documented)

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections, models

M = TypeVar("M", bound=models.Model)
Where = Mapping[str, Any]
"""Field -> the value that it must have; a list or tuple for one of several."""
Beside = Sequence[tuple[str, str]]
"""(name, SQL) of what is read with each row."""


def change(
    model: type[models.Model],
    where: Where,
    values: Mapping[str, Any],
    *,
    of: Mapping[str, Where] | None = None,
    one_more: tuple[str, ...] = (),
) -> int:
    """Update the rows that are so, and say how many. `of`: foreign key -> what the row that it points to must be.
    `one_more`: fields that count on.
    """
    db = connections[DEFAULT_DB_ALIAS]
    told = _adapted(model, values.items(), db) + _wanted(model, where, db)
    statement = _update(model, tuple(values), one_more) + _condition(model, _shape(where))
    for name, theirs in (of or {}).items():
        other = _field(model, name).related_model
        statement += f" AND {_pointing_to(model, name)} {_condition(other, _shape(theirs))})"
        told += _wanted(other, theirs, db)
    with db.cursor() as cursor:
        cursor.execute(statement, told)
        return int(cursor.rowcount)


def insert(row: models.Model) -> None:
    """Store a new row. Its primary key is the database's to give, unless it has one."""
    db, model = connections[DEFAULT_DB_ALIAS], type(row)
    names, statement = _insert(model, with_key=row.pk is not None)
    values = [(name, _field(model, name).pre_save(row, add=True)) for name in names]
    with db.cursor() as cursor:
        cursor.execute(statement, _adapted(model, values, db))
        row.pk = cursor.fetchone()[0] if row.pk is None else row.pk
    row._state.adding, row._state.db = False, db.alias


def insert_with(row: models.Model, statement: str, told: Sequence[Any], names: tuple[str, ...]) -> bool:
    """Store a new row, these fields of which are what `statement` returns in this order: both in one statement, so that
    whatever it locks waits for us once less. False when it returns nothing. SQLite does not know that.
    """
    db, model = connections[DEFAULT_DB_ALIAS], type(row)
    given = [name for name in _insert(model, with_key=False)[0] if name not in names]
    values = [(name, _field(model, name).pre_save(row, add=True)) for name in given]
    with db.cursor() as cursor:
        cursor.execute(_insert_with(model, statement, names), [*told, *_adapted(model, values, db)])
        found = cursor.fetchall()
    for row.pk, *taken in found:
        for name, value in zip(names, taken, strict=True):
            setattr(row, name, value)
        row._state.adding, row._state.db = False, db.alias
    return bool(found)


def read(model: type[M], where: Where, *related: str) -> list[M]:
    """The rows that are so. `related`: foreign keys whose rows come along, each after the one that leads to it, as in
    `"run", "run__by"`.
    """
    wanted = _wanted(model, where, connections[DEFAULT_DB_ALIAS])
    return built(model, fetch(model, f"WHERE {_condition(model, _shape(where))}", wanted, *related), *related)


def fetch(
    model: type[models.Model],
    rest: str,
    told: Sequence[Any],
    *related: str,
    beside: Beside = (),
    unread: tuple[str, ...] = (),
) -> list[tuple[Any, ...]]:
    """Rows as the database gives them, for `built`. `rest`: what follows FROM; `beside`: what else is read of each row,
    whose parameters come first; `unread`: fields of the model that are left out until somebody asks for them.
    """
    db = connections[DEFAULT_DB_ALIAS]
    plan = _plan(model, related, db.vendor, unread)
    more = "".join(f", {sql}" for _, sql in beside)
    with db.cursor() as cursor:
        cursor.execute(f"SELECT {plan.columns}{more} FROM {plan.tables} {rest}", told)  # noqa: S608  # nosec B608
        return list(cursor.fetchall())


def built(
    model: type[M],
    rows: Iterable[Sequence[Any]],
    *related: str,
    beside: Beside = (),
    unread: tuple[str, ...] = (),
) -> list[M]:
    """The rows of `fetch` as instances; what was read beside them under its names."""
    db = connections[DEFAULT_DB_ALIAS]
    plan = _plan(model, related, db.vendor, unread)
    names = [name for name, _ in beside]
    made: list[M] = []
    for row in rows:
        made.append(_instance(plan, row, db))
        vars(made[-1]).update(zip(names, row[len(row) - len(names) :], strict=True))
    return made


def adapted(model: type[models.Model], values: Mapping[str, Any]) -> list[Any]:
    """Values as the database takes them, for a statement of one's own; a related row by its key."""
    return _adapted(model, values.items(), connections[DEFAULT_DB_ALIAS])


# --- How it is done -----------------------------------------------------------------------------------------


class _Part(NamedTuple):
    """The columns of one table in a row that was read."""

    model: type[models.Model]
    owner: int  # the part whose foreign key leads here
    name: str  # of that foreign key
    first: int
    names: list[str]


class _Plan(NamedTuple):
    columns: str
    tables: str
    parts: list[_Part]
    converters: list[tuple[int, Any, list[Callable[..., Any]]]]


@cache
def _plan(model: type[models.Model], related: tuple[str, ...], _vendor: str, unread: tuple[str, ...] = ()) -> _Plan:
    db = connections[DEFAULT_DB_ALIAS]
    parts: list[_Part] = []
    columns: list[str] = []
    converters, places = [], {"": 0}
    tables = model._meta.db_table
    for place, path in enumerate(("", *related)):
        alias = f"t{place}" if place else tables
        owner, name, here = 0, "", model
        if path:
            before, _, name = path.rpartition("__")
            owner = places[before]
            key: Any = parts[owner].model._meta.get_field(name)
            here = key.related_model
            pointing = f'{f"t{owner}" if owner else model._meta.db_table}."{key.column}"'
            tables += f' LEFT JOIN {here._meta.db_table} AS {alias} ON {alias}."{here._meta.pk.column}" = {pointing}'
        places[path] = place
        fields = [field for field in here._meta.concrete_fields if path or field.attname not in unread]
        parts.append(_Part(here, owner, name, len(columns), [field.attname for field in fields]))
        for field in fields:
            column = field.get_col(alias)
            needed = [*db.ops.get_db_converters(column), *column.get_db_converters(db)]
            if needed:
                converters.append((len(columns), column, needed))
            columns.append(f'{alias}."{field.column}"')
    return _Plan(", ".join(columns), tables, parts, converters)


def _instance(plan: _Plan, row: Sequence[Any], db: Any) -> Any:
    values = list(row)
    for place, column, needed in plan.converters:
        for convert in needed:
            values[place] = convert(values[place], column, db)
    made: list[Any] = []
    for part in plan.parts:
        mine = values[part.first : part.first + len(part.names)]
        is_there = not part.name or mine[part.names.index(part.model._meta.pk.attname)] is not None
        made.append(part.model.from_db(db.alias, part.names, mine) if is_there else None)
        if part.name and made[part.owner] is not None:
            setattr(made[part.owner], part.name, made[-1])
    return made[0]


@cache
def _field(model: type[models.Model], name: str) -> Any:
    """A field by its name, "pk" or that of its column."""
    meta: Any = model._meta
    return meta.pk if name == "pk" else meta.get_field(name)


def _quoted(model: type[models.Model], name: str) -> str:
    return f'"{_field(model, name).column}"'


# The names in what follows are those of our own models.


@cache
def _update(model: type[models.Model], names: tuple[str, ...], one_more: tuple[str, ...]) -> str:
    columns = ", ".join(
        [f"{_quoted(model, name)} = %s" for name in names]
        + [f"{_quoted(model, name)} = {_quoted(model, name)} + 1" for name in one_more]
    )
    return f"UPDATE {model._meta.db_table} SET {columns} WHERE "  # noqa: S608  # nosec B608


@cache
def _insert(model: type[models.Model], *, with_key: bool) -> tuple[list[str], str]:
    """(the fields, the statement)"""
    meta = model._meta
    names = [field.attname for field in meta.concrete_fields if with_key or not field.primary_key]
    columns, places = ", ".join(_quoted(model, name) for name in names), ", ".join(["%s"] * len(names))
    statement = f"INSERT INTO {meta.db_table} ({columns}) VALUES ({places}) RETURNING {_quoted(model, 'pk')}"  # noqa: S608  # nosec B608
    return names, statement


@cache
def _insert_with(model: type[models.Model], statement: str, names: tuple[str, ...]) -> str:
    given = [name for name in _insert(model, with_key=False)[0] if name not in names]
    columns = ", ".join(_quoted(model, name) for name in (*names, *given))
    taken, places = ", ".join(_quoted(model, name) for name in names), ", ".join(["%s"] * len(given))
    return (
        f"WITH told ({taken}) AS ({statement}) INSERT INTO {model._meta.db_table} ({columns}) "  # noqa: S608  # nosec B608
        f"SELECT {taken}, {places} FROM told RETURNING {_quoted(model, 'pk')}, {taken}"
    )


@cache
def _pointing_to(model: type[models.Model], name: str) -> str:
    other = _field(model, name).related_model
    return f"{_quoted(model, name)} IN (SELECT {_quoted(other, 'pk')} FROM {other._meta.db_table} WHERE"  # noqa: S608  # nosec B608


Shape = tuple[tuple[str, int], ...]


def _several(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]


def _shape(where: Where) -> Shape:
    """Field names, with how many values each may have."""
    return tuple((name, len(_several(value))) for name, value in where.items())


@cache
def _condition(model: type[models.Model], shape: Shape) -> str:
    table = model._meta.db_table
    return " AND ".join(f"{table}.{_quoted(model, name)} IN ({', '.join(['%s'] * count)})" for name, count in shape)


def _wanted(model: type[models.Model], where: Where, db: Any) -> list[Any]:
    return _adapted(model, [(name, each) for name, value in where.items() for each in _several(value)], db)


def _adapted(model: type[models.Model], values: Iterable[tuple[str, Any]], db: Any) -> list[Any]:
    return [
        _field(model, name).get_db_prep_save(value.pk if isinstance(value, models.Model) else value, db)
        for name, value in values
    ]
