"""Who gets what: every route × method × persona, in one table. A route without a row fails the build.

To add a route: `"name": Row(get=…, post=…)`. `pages()` is a page that all staff may see, `changes()` a POST that all
staff may send; `only("admin")` narrows either. `arguments` makes the route's arguments once the persona is signed in,
`data` the form. Methods other than GET, HEAD and POST are answered alike everywhere, so they need no column.
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from customers import merge
from customers.models import Customer, GdapSync, SourceName
from partnerportal import clock, vault
from partnerportal.models import AuditEvent, Operator, TokenCache
from partnerportal.sandbox import seed
from partnerportal.upstream.http import Secret
from users import links
from users.models import OnboardingRun, Operation

STRANGERS = ("stranger", "norole", "foreign")  # norole and foreign stood at the door and were not let in
STAFF = ("reader", "writer", "nested", "outsider", "admin")
ACTORS = STRANGERS + STAFF
AUTHORS = ("writer", "nested", "outsider", "admin")  # whose app role allows writes on users

Expected = Mapping[str, int]
"""Actor -> status."""


def all_of(status: int) -> Expected:
    """The same answer for everybody."""
    return dict.fromkeys(ACTORS, status)


def pages(status: int = 200, *, only: tuple[str, ...] = STAFF, others: int = 403) -> Expected:
    """A GET: strangers are led to sign in."""
    return {actor: 302 if actor in STRANGERS else status if actor in only else others for actor in ACTORS}


def changes(status: int, *, only: tuple[str, ...] = STAFF, others: int = 403) -> Expected:
    """A POST: strangers get 401, never a redirect."""
    return {actor: 401 if actor in STRANGERS else status if actor in only else others for actor in ACTORS}


NO_CHANGE = changes(405)
"""A POST to a page that only shows something."""
NO_PAGE = pages(405)
"""A GET of an address that only takes forms."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What each actor gets for GET (and HEAD), and for POST."""

    get: Expected
    post: Expected
    arguments: Callable[[], dict[str, Any]] = dict
    data: Callable[[], dict[str, Any]] = dict


def _newest_entry() -> dict[str, Any]:
    """Somebody's sign-in: one's own, for the actor has just come in."""
    newest = AuditEvent.objects.filter(kind="intent").first()
    return {"pk": newest.pk if newest else 1}


def _first_entry() -> dict[str, Any]:
    """The sign-in of the observer, who came before the actor."""
    return {"pk": AuditEvent.objects.filter(kind="intent").order_by("id")[0].pk}


def _customer(name: str = "contoso") -> dict[str, Any]:
    """One of the cloud's special customers, as a sync would have brought it."""
    if not Customer.objects.exists():
        put_in_place()
    return {"key": seed.SPECIAL[name]}


def put_in_place() -> None:
    """The customers that rows are about. Whoever asks for many rows does this once before them: it takes longer than
    most answers.
    """
    keys = {name: seed.SPECIAL[name] for name in ("contoso", "none")}
    seen = [merge.Seen(key, key, seed.SPECIAL_NAMES[name], f"{name}.example") for name, key in keys.items()]
    merge.swap({SourceName.PARTNER_CENTER: seen}, clock.now())


def _pair() -> dict[str, Any]:
    """A customer of Partner Center, and one of AvePoint's that may be the same."""
    theirs = merge.Seen("own-1", "Own-1", "Contoso of AvePoint")
    tenant_id = _customer()["key"]
    merge.swap({SourceName.AVEPOINT: [theirs]}, clock.now())
    return {"tenant_id": tenant_id, "avepoint_id": "own-1"}


def _no_pair() -> dict[str, Any]:
    """A customer beside a row that AvePoint never told."""
    return {"tenant_id": _customer()["key"], "avepoint_id": "nobody"}


def _batch() -> dict[str, Any]:
    """A preview that nobody has seen."""
    return {"batch": uuid.uuid4(), "seen": "nothing"}


def _user(name: str = "contoso") -> dict[str, Any]:
    """A user of that customer."""
    return {**_customer(name), "user_id": seed.SPECIAL_USERS["plain"]}


def _deleted_user() -> dict[str, Any]:
    """A deleted user of Contoso."""
    return {**_customer(), "user_id": seed.SPECIAL_USERS["deleted"]}


def _stranger() -> dict[str, Any]:
    """A user of a tenant that is not the partner's."""
    return {**_nowhere(), "user_id": uuid.uuid4()}


def _gdap_request() -> dict[str, Any]:
    """A sync asked of the GDAP API by whoever came in last."""
    by, _ = Operator.objects.get_or_create(
        tid=seed.PARTNER_TENANT_ID, oid=seed.PERSONA_OIDS["admin"], defaults={"subject": "row of the matrix"}
    )
    row, _ = GdapSync.objects.get_or_create(
        open=True, defaults={"op_id": uuid.uuid4(), "by": by, "email": "a@partnerdesk.example"}
    )
    return {"op_id": row.op_id}


def _elsewhere() -> dict[str, Any]:
    """A customer without any GDAP relationship."""
    return _customer("none")


def _nowhere() -> dict[str, Any]:
    """A tenant that is not the partner's."""
    return {"key": seed.SPECIAL["not_ours"]}


def _new_user() -> dict[str, Any]:
    return {
        "op_id": uuid.uuid4(),
        "display_name": "Row of the matrix",
        "user_name": "row.of.the.matrix",
        "domain": "contosotrading.example",
        "usage_location": "GB",
        "password_mode": "made",
        "force_change": "on",
    }


def _operation(arguments: dict[str, Any] | None = None) -> dict[str, Any]:
    return {**(arguments or _customer()), "op_id": uuid.uuid4()}


def _link() -> dict[str, Any]:
    """An open one-time link, whoever comes by."""
    by, _ = Operator.objects.get_or_create(
        tid=seed.PARTNER_TENANT_ID, oid=seed.PERSONA_OIDS["admin"], defaults={"subject": "row of the matrix"}
    )
    customer = Customer.objects.get(tenant_id=_customer()["key"])
    grant = TokenCache.objects.create(operator=by, sealed=b"")
    op_id, now = uuid.uuid4(), clock.now()
    done = Operation.objects.create(
        op_id=op_id,
        kind=Operation.Kind.CREATE,
        state=Operation.State.DONE,
        by=by,
        session=grant.pk,
        customer=customer,
        sealed_password=vault.seal("operation", str(op_id), "Row-Of-The-Matrix-1"),
        decided_at=now,
    )
    token = links.make(done, lasts=timedelta(hours=1), passphrase=Secret(""), by=by, grant=grant)
    return {"token": token.reveal()}


def _run(state: str = "running", kind: str = Operation.Kind.DELETE) -> dict[str, Any]:
    """A run of whoever has just come in, with a row at Contoso."""
    newest = AuditEvent.objects.filter(kind="intent", action="sign in").first()
    by = Operator.objects.filter(oid=newest.actor_oid).first() if newest else None
    if by is None:  # of somebody who was not let in there is no operator, and no run
        return {"run_id": uuid.uuid4()}
    customer = Customer.objects.get(tenant_id=_customer()["key"])
    run = OnboardingRun.objects.create(by=by, kind=kind, title="Row of the matrix", state=state)
    run.rows.create(line=1, customer=customer, tenant_id=customer.tenant_id or "", target_id=str(uuid.uuid4()))
    return {"run_id": run.key}


def _run_of_the_observer() -> dict[str, Any]:
    """A run of the observer, who came before the actor."""
    first = AuditEvent.objects.filter(kind="intent", action="sign in").order_by("id")[0]
    by = Operator.objects.get(oid=first.actor_oid)
    run = OnboardingRun.objects.create(by=by, kind=Operation.Kind.DELETE, title="Row of the matrix", state="running")
    return {"run_id": run.key}


READERS = ("admin", "writer", "reader")  # who may look at contoso's users
WRITERS = ("admin", "writer")

MATRIX: dict[str, Row] = {
    "customers": Row(get=pages(), post=NO_CHANGE),
    "customers-refresh": Row(get=pages(302), post=changes(303)),
    "customers-columns": Row(get=pages(), post=changes(303), data=lambda: {"step": "reset"}),
    "customers-size": Row(get=NO_PAGE, post=changes(303), data=lambda: {"size": "50"}),
    "customers-export": Row(get=pages(), post=NO_CHANGE),
    "customer": Row(get=pages(302), post=NO_CHANGE, arguments=_customer),
    "customer-details": Row(get=pages(), post=NO_CHANGE, arguments=_customer),
    "label-add": Row(
        get=NO_PAGE,
        post=changes(303, only=AUTHORS),
        arguments=_customer,
        data=lambda: {"kind": "tag", "text": "of the matrix"},
    ),
    "label-remove": Row(get=NO_PAGE, post=changes(303, only=AUTHORS), arguments=lambda: {**_customer(), "pk": 10**9}),
    "matches": Row(get=pages(), post=NO_CHANGE),
    "matches-confirm": Row(get=pages(only=AUTHORS), post=changes(409, only=AUTHORS), data=_batch),
    "match": Row(get=pages(), post=NO_CHANGE, arguments=_pair),
    "match-decide": Row(
        get=NO_PAGE, post=changes(303, only=AUTHORS), arguments=_pair, data=lambda: {"verdict": "linked"}
    ),
    "match-undo": Row(get=NO_PAGE, post=changes(404, only=AUTHORS), arguments=lambda: {"pk": 10**9}),
    "match-undo-batch": Row(get=NO_PAGE, post=changes(409, only=AUTHORS), arguments=lambda: {"batch": uuid.uuid4()}),
    "customer-menu": Row(get=pages(), post=NO_CHANGE, arguments=_customer),
    "sources": Row(get=pages(), post=NO_CHANGE),
    "sources-cancel": Row(get=NO_PAGE, post=changes(303)),
    "sources-answer": Row(
        get=NO_PAGE,
        post=changes(303, only=("admin",)),
        data=lambda: {"source": "avepoint", "rows": "3", "answer": "accept"},
    ),
    "gdap-sync": Row(
        get=pages(only=("admin",)), post=changes(303, only=("admin",)), data=lambda: {"op_id": uuid.uuid4()}
    ),
    "customer-access": Row(get=pages(), post=NO_CHANGE, arguments=_customer),
    "gdap": Row(get=pages(), post=NO_CHANGE),
    "gdap-refresh": Row(get=pages(302), post=changes(303)),
    "gdap-export": Row(get=pages(), post=NO_CHANGE),
    "gdap-sync-request": Row(get=pages(only=("admin",)), post=changes(405), arguments=_gdap_request),
    # `outsider` cannot be told: looking goes to Microsoft, who refuses; the form opens and says that Microsoft decides.
    "users": Row(get=pages(only=READERS), post=NO_CHANGE, arguments=_customer),
    "users-ahead": Row(get=pages(204), post=NO_CHANGE, arguments=_customer),  # nothing is in the answer
    "users-export": Row(get=pages(only=READERS), post=NO_CHANGE, arguments=_customer),
    # Nobody stands behind the copy who could refuse `outsider`, so what we cannot tell is no.
    "users-search": Row(get=pages(only=READERS), post=changes(303, only=READERS), arguments=_customer),
    "user": Row(get=pages(only=READERS), post=NO_CHANGE, arguments=_user),
    "user-new": Row(
        get=pages(only=(*WRITERS, "outsider")),
        post={**changes(200, only=WRITERS), "outsider": 422},
        arguments=_customer,
        data=_new_user,
    ),
    # An empty form is told so, whoever may send it; who may look only is refused before that.
    "user-edit": Row(get=pages(only=WRITERS), post=changes(422, only=AUTHORS), arguments=_user),
    # As with `user-edit`, an empty form is told so before anybody is asked for a right.
    "user-history": Row(get=pages(only=(*READERS, "outsider")), post=NO_CHANGE, arguments=_user),
    "user-undo": Row(get=NO_PAGE, post=changes(404, only=AUTHORS), arguments=_user),
    "user-licences": Row(get=pages(only=WRITERS), post=changes(422, only=AUTHORS), arguments=_user),
    "user-reset": Row(get=pages(only=("admin",)), post=changes(422, only=AUTHORS), arguments=_user),
    "user-delete": Row(get=pages(only=("admin",)), post=changes(422, only=AUTHORS), arguments=_user),
    "user-restore": Row(get=pages(only=WRITERS), post=changes(422, only=AUTHORS), arguments=_deleted_user),
    "operation": Row(get=pages(404, only=AUTHORS), post=changes(404, only=AUTHORS), arguments=_operation),
    # Nothing is ticked; but who may not, or of whom nobody can tell it, is refused before that.
    "users-several": Row(
        get=NO_PAGE,
        post=changes(422, only=WRITERS),
        arguments=_customer,
        data=lambda: {"do": "location", "op_id": uuid.uuid4()},
    ),
    # A form without a file is told so.
    "onboarding-new": Row(get=pages(only=AUTHORS), post=changes(422, only=AUTHORS)),
    "onboarding-columns": Row(
        get=pages(404, only=AUTHORS), post=changes(404, only=AUTHORS), arguments=lambda: {"pk": uuid.uuid4()}
    ),
    "onboarding-template": Row(get=pages(only=AUTHORS), post=NO_CHANGE),
    "run-problems": Row(get=pages(404, only=AUTHORS), post=NO_CHANGE, arguments=lambda: {"run_id": uuid.uuid4()}),
    "runs": Row(get=pages(only=AUTHORS), post=NO_CHANGE),
    "run": Row(
        get=pages(only=AUTHORS), post=changes(303, only=AUTHORS), arguments=_run, data=lambda: {"step": "pause"}
    ),
    "run-check": Row(
        get=pages(only=AUTHORS),
        post=changes(303, only=AUTHORS),
        arguments=lambda: _run("checked"),
        data=lambda: {"step": "discard"},
    ),
    "run-results": Row(get=pages(only=AUTHORS), post=NO_CHANGE, arguments=_run),
    # A run that has created nobody yet has no password to hand over.
    "run-handover": Row(
        get=pages(only=AUTHORS),
        post=changes(409, only=AUTHORS),
        arguments=lambda: _run(kind=Operation.Kind.CREATE),
        data=lambda: {"hours": "1"},
    ),
    "templates": Row(  # `nested` may create elsewhere, not here; of `outsider` nobody can tell
        get=pages(only=("writer", "outsider", "admin")), post=NO_CHANGE, arguments=_customer
    ),
    "template": Row(
        get=pages(only=("writer", "outsider", "admin")),
        post=changes(303, only=("writer", "outsider", "admin")),
        arguments=lambda: {**_customer(), "which": "new"},
        data=lambda: {"step": "save", "version": "0", "name": f"Row {uuid.uuid4()}"},
    ),
    "all-templates": Row(get=pages(only=AUTHORS), post=NO_CHANGE),
    "all-template": Row(
        get=pages(only=AUTHORS),
        post=changes(303, only=("admin",)),
        arguments=lambda: {"which": "new"},
        data=lambda: {"step": "save", "version": "0", "name": f"Row {uuid.uuid4()}"},
    ),
    "links": Row(get=pages(only=AUTHORS), post=changes(404, only=AUTHORS), data=lambda: {"link": uuid.uuid4()}),
    "home": Row(get=pages(), post=NO_CHANGE),
    "theme": Row(get=NO_PAGE, post=changes(303), data=lambda: {"theme": "dark"}),
    "settings": Row(get=pages(), post=changes(303), data=lambda: {"density": "comfortable"}),
    "shortcuts": Row(get=pages(), post=NO_CHANGE),
    "go": Row(get=pages(), post=NO_CHANGE),
    "favourite": Row(get=NO_PAGE, post=changes(303), arguments=_customer, data=lambda: {"on": "1"}),
    "audit": Row(get=pages(), post=NO_CHANGE),
    "audit-export": Row(get=pages(), post=NO_CHANGE),
    "audit-event": Row(get=pages(), post=NO_CHANGE, arguments=_newest_entry),
    # Without sign-in
    "signin": Row(get=all_of(302), post=all_of(405)),
    "signin-callback": Row(get=all_of(303), post=all_of(405)),
    "signout": Row(get=dict.fromkeys(STRANGERS, 200) | dict.fromkeys(STAFF, 302), post=all_of(200)),
    "session": Row(get=dict.fromkeys(STRANGERS, 401) | dict.fromkeys(STAFF, 204), post=all_of(405)),
    "livez": Row(get=all_of(200), post=all_of(405)),
    "readyz": Row(get=all_of(200), post=all_of(405)),
    "csp-report": Row(get=all_of(405), post=all_of(400)),
    "handover": Row(get=all_of(200), post=all_of(200), arguments=_link),
}

# The same address with other arguments: what is somebody else's, and what does not exist.
OTHERS: dict[str, Row] = {
    "users": Row(get=pages(403), post=NO_CHANGE, arguments=_elsewhere),
    "users-export": Row(get=pages(403), post=NO_CHANGE, arguments=_elsewhere),
    "users-search": Row(get=pages(403), post=changes(403), arguments=_elsewhere),
    "customer-access": Row(get=pages(), post=NO_CHANGE, arguments=_elsewhere),
    "user": Row(get=pages(403), post=NO_CHANGE, arguments=lambda: _user("none")),
    "user-new": Row(
        get={**pages(403), "outsider": 200},
        post={**changes(403), "outsider": 422},
        arguments=_elsewhere,
        data=_new_user,
    ),
    "audit-event": Row(get=pages(only=("admin",), others=404), post=NO_CHANGE, arguments=_first_entry),
    "run": Row(
        get={**pages(only=("admin",)), **dict.fromkeys(("writer", "nested", "outsider"), 404)},
        post={**changes(303, only=("admin",)), **dict.fromkeys(("writer", "nested", "outsider"), 404)},
        arguments=_run_of_the_observer,
        data=lambda: {"step": "pause"},
    ),
}
UNKNOWN: dict[str, Row] = {
    "handover": Row(get=all_of(404), post=all_of(404), arguments=lambda: {"token": "nobody-made-this-one"}),
    "customer-details": Row(get=pages(404), post=NO_CHANGE, arguments=_nowhere),
    "label-add": Row(get=NO_PAGE, post=changes(404, only=AUTHORS), arguments=_nowhere),
    "label-remove": Row(get=NO_PAGE, post=changes(404, only=AUTHORS), arguments=lambda: {**_nowhere(), "pk": 1}),
    "match": Row(get=pages(404), post=NO_CHANGE, arguments=_no_pair),
    "match-decide": Row(
        get=NO_PAGE, post=changes(404, only=AUTHORS), arguments=_no_pair, data=lambda: {"verdict": "linked"}
    ),
    "customer": Row(get=pages(404), post=NO_CHANGE, arguments=_nowhere),
    "customer-menu": Row(get=pages(404), post=NO_CHANGE, arguments=_nowhere),
    "favourite": Row(get=NO_PAGE, post=changes(404), arguments=_nowhere),
    "users": Row(get=pages(404), post=NO_CHANGE, arguments=_nowhere),
    "customer-access": Row(get=pages(404), post=NO_CHANGE, arguments=_nowhere),
    "gdap-sync-request": Row(
        get=pages(404, only=("admin",)), post=changes(405), arguments=lambda: {"op_id": uuid.uuid4()}
    ),
    "users-ahead": Row(get=pages(404), post=NO_CHANGE, arguments=_nowhere),
    "users-export": Row(get=pages(404), post=NO_CHANGE, arguments=_nowhere),
    "users-search": Row(get=pages(404), post=changes(404), arguments=_nowhere),
    "user": Row(get=pages(404), post=NO_CHANGE, arguments=lambda: {**_nowhere(), "user_id": uuid.uuid4()}),
    "user-new": Row(get=pages(404), post=changes(404), arguments=_nowhere, data=_new_user),
    "user-edit": Row(get=pages(404), post=changes(404), arguments=lambda: {**_nowhere(), "user_id": uuid.uuid4()}),
    "user-history": Row(get=pages(404), post=NO_CHANGE, arguments=_stranger),
    "user-undo": Row(get=NO_PAGE, post=changes(404, only=AUTHORS), arguments=_stranger),
    "user-licences": Row(get=pages(404, only=AUTHORS), post=changes(404, only=AUTHORS), arguments=_stranger),
    "user-reset": Row(get=pages(404, only=AUTHORS), post=changes(404, only=AUTHORS), arguments=_stranger),
    "user-delete": Row(get=pages(404, only=AUTHORS), post=changes(404, only=AUTHORS), arguments=_stranger),
    "user-restore": Row(get=pages(404, only=AUTHORS), post=changes(404, only=AUTHORS), arguments=_stranger),
    "operation": Row(
        get=pages(404, only=AUTHORS), post=changes(404, only=AUTHORS), arguments=lambda: _operation(_nowhere())
    ),
    "templates": Row(get=pages(404, only=AUTHORS), post=NO_CHANGE, arguments=_nowhere),
    "template": Row(  # `nested` is not told that there is none
        get=pages(404, only=("writer", "outsider", "admin")),
        post=changes(404, only=("writer", "outsider", "admin")),
        arguments=lambda: {**_customer(), "which": str(10**9)},
        data=lambda: {"step": "save"},
    ),
    "all-template": Row(
        get=pages(404, only=AUTHORS),
        post=changes(404, only=("admin",)),
        arguments=lambda: {"which": str(10**9)},
        data=lambda: {"step": "save"},
    ),
    "audit-event": Row(get=pages(404, others=404), post=NO_CHANGE, arguments=lambda: {"pk": 10**9}),
    "users-several": Row(get=NO_PAGE, post=changes(404, only=AUTHORS), arguments=_nowhere),
    "run": Row(
        get=pages(404, only=AUTHORS),
        post=changes(404, only=AUTHORS),
        arguments=lambda: {"run_id": uuid.uuid4()},
        data=lambda: {"step": "stop"},
    ),
    "run-check": Row(
        get=pages(404, only=AUTHORS), post=changes(404, only=AUTHORS), arguments=lambda: {"run_id": uuid.uuid4()}
    ),
    "run-results": Row(get=pages(404, only=AUTHORS), post=NO_CHANGE, arguments=lambda: {"run_id": uuid.uuid4()}),
    "run-handover": Row(
        get=pages(404, only=AUTHORS), post=changes(404, only=AUTHORS), arguments=lambda: {"run_id": uuid.uuid4()}
    ),
}
