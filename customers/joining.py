"""What people decide: a row of AvePoint belongs to another customer, or to its own again."""

from django.db.models import ProtectedError

from .models import Customer, Favourite, Label, SourceName, SourceRow, Visit
from .telling import retell


def join(row: SourceRow, customer: Customer) -> None:
    """Let an AvePoint row belong to this customer from now on, with what people have put on its own customer.

    For a transaction of the caller, who also stores the decision, says `snapshot.changed` and lets `matches` suggest.
    """
    left = row.customer
    if left == customer:
        return
    row.customer = customer
    row.save(update_fields=["customer"])
    if left.rows.exists():
        retell({left.pk})
    else:
        _give_up(left, customer)
    retell({customer.pk})


def part(row: SourceRow) -> Customer:
    """Give an AvePoint row a customer of its own again, and return that one. For a transaction of the caller, as above.

    Labels stay where they are: nobody knows on which of the two they were put. Raises ValueError for a row that is
    joined by its id: no person has done that, so no person can undo it.
    """
    joined = row.customer
    by_id = SourceRow.objects.filter(source=SourceName.PARTNER_CENTER, source_id=row.source_id).first()
    if by_id and by_id.customer == joined:
        raise ValueError(f"{row} and {by_id} have the same id")
    own = by_id.customer if by_id else Customer.objects.create(key=f"parted-{row.pk}", name=row.name)
    row.customer = own
    row.save(update_fields=["customer"])
    retell({joined.pk})  # first, for its key may be the row's until then
    retell({own.pk})
    own.refresh_from_db()
    return own


def _give_up(left: Customer, customer: Customer) -> None:
    """Move what people have put on a customer without rows, and delete it, or unlist it if its history needs it."""
    _move_labels(left, customer)
    liked = Favourite.objects.filter(customer=customer).values("operator")
    Favourite.objects.filter(customer=left).exclude(operator__in=list(liked.values_list("operator", flat=True))).update(
        customer=customer
    )
    _move_visits(left, customer)
    try:
        left.delete()
    except ProtectedError:
        # Its old key may be wanted by the customer that has its row now.
        Customer.objects.filter(pk=left.pk).update(listed=False, key=f"gone-{left.pk}", tenant_id=None)


def _move_labels(left: Customer, customer: Customer) -> None:
    there = set(Label.objects.filter(customer=customer).values_list("kind", "folded"))
    moving = [
        label.pk for label in Label.objects.filter(customer=left) if (label.kind, label.folded) not in there
    ]  # the rest goes with its customer
    Label.objects.filter(pk__in=moving).update(customer=customer)


def _move_visits(left: Customer, customer: Customer) -> None:
    """The later one of each operator stays."""
    there = {visit.operator_id: visit for visit in Visit.objects.filter(customer=customer)}
    for visit in Visit.objects.filter(customer=left):
        mine = there.get(visit.operator_id)
        if mine is None:
            Visit.objects.filter(pk=visit.pk).update(customer=customer)
        elif mine.at < visit.at:
            Visit.objects.filter(pk=mine.pk).update(at=visit.at)
