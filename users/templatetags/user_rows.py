"""The rows of users, live and found. Written by hand, for most of what such a page takes was in them
(docs/decisions/0028).

All data is escaped here: a piece is made by `filled`, or of words of ours alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from django import template
from django.template.context import Context
from django.template.defaultfilters import capfirst
from django.urls import reverse
from django.utils.html import conditional_escape
from django.utils.safestring import SafeString

from customers import countries
from partnerportal.templatetags.portal import day, filled, icon, person, short_id, upn, when
from partnerportal.upstream.partner_center import CustomerUser
from users.models import IndexedUser

register = template.Library()


@dataclass(frozen=True)
class Look:
    """What all rows of one page have in common: where the users are, and what the operator may do to them."""

    users_url: SafeString
    may_several: bool
    may_change: bool
    may_reset: bool
    may_create: bool
    may_delete: bool
    may_restore: bool

    @classmethod
    def of(cls, context: Context) -> "Look":
        """From what `pages.shell` put there."""
        may = {name: bool(context[name]) for name in cls.__dataclass_fields__ if name != "users_url"}
        return cls(conditional_escape(reverse("users", args=[context["customer"].key])), **may)


@dataclass(frozen=True)
class Who:
    """One user's names and addresses, each escaped once for the dozen places that show it."""

    id: SafeString
    url: SafeString  # their page; the pages of what can be done to them stand below it
    name: SafeString
    user_name: SafeString

    @classmethod
    def of(cls, user_id: str, user: CustomerUser | IndexedUser, look: Look) -> "Who":
        """The pieces for the row of this user."""
        return cls(
            conditional_escape(user_id),
            filled("{}{}/", look.users_url, user_id),
            conditional_escape(user.display_name),
            conditional_escape(user.user_principal_name),
        )


@register.simple_tag(takes_context=True)
def user_rows(context: Context, users: Iterable[CustomerUser]) -> SafeString:
    """The rows of the live list."""
    look = Look.of(context)
    return _joined(_user_row(user, Who.of(user.id, user, look), look) for user in users)


@register.simple_tag(takes_context=True)
def found_rows(context: Context, users: Iterable[IndexedUser]) -> SafeString:
    """The rows of a search in the index."""
    look = Look.of(context)
    return _joined(_found_row(user, Who.of(user.user_id, user, look), look) for user in users)


def _joined(parts: Iterable[str]) -> SafeString:
    return SafeString("".join(parts))  # nosec B703 -- each part was escaped where it was made


# --- The live list ------------------------------------------------------------------------------------------


def _user_row(user: CustomerUser, who: Who, look: Look) -> SafeString:
    shown = person(user.display_name)
    return filled(
        '<tr role="row" id="row-{}">\n'
        '{}<th role="rowheader" scope="row">{}</th>\n'
        '<td role="cell" class="m any">{}</td>\n'
        "{}\n{}\n{}\n"
        '<td role="cell" class="p4 nw sec num">{}</td>\n'
        '<td class="act" role="cell">{}</td>\n</tr>',
        who.id,
        _box(who) if look.may_several else "",
        shown if user.is_deleted else filled('<a href="{}">{}</a>', who.url, shown),
        upn(user.user_principal_name),
        _deleted_on(user) if user.is_deleted else _state(user.state),
        _location(user.usage_location),
        _directory(user.domain_type == "federated", user.is_synced),
        when(user.last_directory_sync),
        _restore(who, look) if user.is_deleted else _menu(who, look, last=_delete(who, look)),
    )


def _box(who: Who) -> SafeString:
    return filled(
        '<td role="cell" class="tick"><input class="check" type="checkbox" name="user" value="{}" form="several"'
        ' aria-label="Select {}"></td>\n',
        who.id,
        who.name,
    )


_STATE = '<td role="cell" class="m nw" data-label="State">{}</td>'


def _deleted_on(user: CustomerUser) -> SafeString:
    on = filled(" {}", day(user.soft_deleted_at)) if user.soft_deleted_at else ""
    return filled(_STATE, filled(_DELETED, icon("x"), on))


_DELETED = '<span class="tag bad">{}Deleted{}</span>'


@lru_cache(maxsize=32)
def _state(state: str) -> SafeString:
    if state == "active":
        return filled(_STATE, "Active")
    return filled(_STATE, filled('<span class="tag">{}{}</span>', icon("pause"), capfirst(state)))


@lru_cache(maxsize=512)
def _location(code: str) -> SafeString:
    if code:
        return filled('<td role="cell" class="nw" data-label="Location">{}</td>', countries.name_of(code))
    return filled(
        '<td role="cell" class="nw m" data-label="Location"><span class="tag warn">{}Not set</span></td>', icon("alert")
    )


@lru_cache(maxsize=4)
def _directory(is_federated: bool, is_synced: bool) -> SafeString:
    shown: str = "On-premises" if is_synced else "Cloud"
    if is_federated:
        shown = filled('<span class="tag info">{}Federated</span>', icon("lock"))
    return filled('<td role="cell" class="p3 nw sec">{}</td>', shown)


def _delete(who: Who, look: Look) -> SafeString | str:
    return filled('\n<a href="{}delete/">Delete…</a>', who.url) if look.may_delete else ""


# --- What a search found ------------------------------------------------------------------------------------


def _found_row(user: IndexedUser, who: Who, look: Look) -> SafeString:
    shown = person(user.display_name) or "No name"
    return filled(
        '<tr role="row" id="row-{}">\n'
        '<th role="rowheader" scope="row">{}<span class="sub">{}</span></th>\n'
        '<td role="cell" class="any">{}</td>\n'
        '<td role="cell" class="p3 nw sec">{}</td>\n'
        '<td class="act" role="cell">{}</td>\n</tr>',
        who.id,
        filled("{} {}", shown, _deleted()) if user.deleted else filled('<a href="{}">{}</a>', who.url, shown),
        person(user.user_principal_name),
        upn(user.user_principal_name),
        short_id(user.user_id, "object ID"),
        _restore(who, look) if user.deleted else _menu(who, look, second=_reset(who, look)),
    )


@lru_cache(maxsize=1)
def _deleted() -> SafeString:
    return filled(_DELETED, icon("x"), "")


def _reset(who: Who, look: Look) -> SafeString | str:
    return filled('\n<a href="{}password/">New password…</a>', who.url) if look.may_reset else ""


# --- What both have -----------------------------------------------------------------------------------------


def _menu(who: Who, look: Look, *, second: str = "", last: str = "") -> SafeString:
    """What can be done to somebody; `second` and `last` are actions of one of the two lists alone."""
    return filled(
        '<details class="menu" id="row-{}-menu"><summary class="btn quiet sq sm" aria-label="Actions for {}">{}'
        "</summary><div>\n{}{}{}\n"
        '<button type="button" class="needs-js" data-copy="{}">Copy user name</button>\n'
        '<button type="button" class="needs-js" data-copy="{}">Copy object ID</button>{}</div></details>',
        who.id,
        who.name,
        icon("dots"),
        filled('<a href="{}edit/">Edit</a>', who.url) if look.may_change else _NO_EDIT,
        second,
        _like(who, look),
        who.user_name,
        who.id,
        last,
    )


_NO_EDIT = SafeString('<a role="link" tabindex="0" aria-disabled="true" aria-describedby="rolebar">Edit</a>')


def _like(who: Who, look: Look) -> SafeString | str:
    if not look.may_create:
        return ""
    return filled('\n<a href="{}new/?like={}">New user like this</a>', look.users_url, who.id)


def _restore(who: Who, look: Look) -> SafeString | str:
    if not look.may_restore:
        return ""
    return filled('<a class="btn sm" href="{}restore/">Restore<span class="vh"> {}</span></a>', who.url, who.name)
