"""What an app role of Entra allows in the portal. GDAP must say yes as well: that is customers/access.py."""

from collections.abc import Callable
from enum import StrEnum
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from django.core.exceptions import PermissionDenied
from django.http import HttpResponseBase

from .http import OperatorRequest
from .models import Operator

P = ParamSpec("P")
R = TypeVar("R", bound=HttpResponseBase)


class Permission(StrEnum):
    """One thing that a view may ask for. The value completes "You may not …"."""

    VIEW = "see customers and their users"
    REFRESH = "ask for a fresh customer list"
    DECIDE_SOURCES = "decide about the sources and other people's syncs"
    WRITE_USERS = "create or change users"
    MATCH = "decide which customers of the two sources are one"
    LABEL = "put labels on customers"
    SYNC_GDAP = "ask the GDAP API for a customer sync"
    AUDIT_OWN = "see your own audit entries"
    AUDIT_ALL = "see the whole audit trail"
    SET_DEFAULTS = "change the templates of all customers"
    ALL_LINKS = "see and revoke the hand-over links of others"
    ASK_FOR_OTHERS = "see what somebody else may do"


_READER = {Permission.VIEW, Permission.REFRESH, Permission.AUDIT_OWN}
_OPERATOR = _READER | {Permission.WRITE_USERS, Permission.MATCH, Permission.LABEL}
_ADMIN = _OPERATOR | {
    Permission.SYNC_GDAP,
    Permission.DECIDE_SOURCES,
    Permission.AUDIT_ALL,
    Permission.ASK_FOR_OTHERS,
    Permission.SET_DEFAULTS,
    Permission.ALL_LINKS,
}

ROLES: dict[str, set[Permission]] = {
    "Portal.Reader": _READER,
    "Portal.Operator": _OPERATOR,
    "Portal.Admin": _ADMIN,
}


class RoleMissing(PermissionDenied):
    """The app role of the person does not include what they asked for."""

    def __init__(self, permission: Permission) -> None:
        self.permission = permission
        self.needed = next(role for role, allowed in ROLES.items() if permission in allowed)
        super().__init__(f"You may not {permission.value}: that needs the app role {self.needed}.")


def permissions_of(operator: Operator) -> set[Permission]:
    """All that the app roles of this operator allow together."""
    return set().union(*(ROLES.get(role, set()) for role in operator.app_roles))


def may(operator: Operator, permission: Permission) -> bool:
    """Whether one of the app roles of this operator includes the permission."""
    return permission in permissions_of(operator)


def require(
    permission: Permission,
) -> Callable[
    [Callable[Concatenate[OperatorRequest, P], R]],
    Callable[Concatenate[OperatorRequest, P], R],
]:
    """Every view names what it needs; a metatest walks the URLconf and asks for `view.permission`.

    Raises `RoleMissing`, which becomes the 403 page that names the missing role.
    """

    def decorate(
        view: Callable[Concatenate[OperatorRequest, P], R],
    ) -> Callable[Concatenate[OperatorRequest, P], R]:
        @wraps(view)
        def checked(request: OperatorRequest, /, *args: P.args, **kwargs: P.kwargs) -> R:
            if not may(request.user, permission):
                raise RoleMissing(permission)
            return view(request, *args, **kwargs)

        marked: Any = checked
        marked.permission = permission
        return checked

    return decorate
