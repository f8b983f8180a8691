"""App roles and what they allow."""

import pytest

from partnerportal.models import AuditEvent, Operator
from partnerportal.permissions import ROLES, Permission, RoleMissing, may, permissions_of


def operator(*roles):
    return Operator(name="Somebody", app_roles=list(roles))


def test_each_role_includes_the_one_before():
    reader, author, admin = ROLES.values()
    assert reader < author < admin == set(Permission)


@pytest.mark.parametrize("roles", [(), ("Portal.Owner",), ("portal.admin",)])
def test_unknown_roles_allow_nothing(roles):
    assert permissions_of(operator(*roles)) == set()


def test_roles_add_up():
    assert permissions_of(operator("Portal.Reader", "Portal.Operator")) == ROLES["Portal.Operator"]


@pytest.mark.parametrize(
    ("role", "permission", "allowed"),
    [
        ("Portal.Reader", Permission.VIEW, True),
        ("Portal.Reader", Permission.WRITE_USERS, False),
        ("Portal.Operator", Permission.WRITE_USERS, True),
        ("Portal.Operator", Permission.SYNC_GDAP, False),
        ("Portal.Operator", Permission.AUDIT_ALL, False),
        ("Portal.Admin", Permission.AUDIT_ALL, True),
    ],
)
def test_who_may_what(role, permission, allowed):
    assert may(operator(role), permission) is allowed


def test_the_reason_names_the_smallest_role_that_would_do():
    assert str(RoleMissing(Permission.WRITE_USERS)) == (
        "You may not create or change users: that needs the app role Portal.Operator."
    )


def test_a_refused_change_is_written_down_a_refused_look_is_not(signed_in):
    browser = signed_in("reader")
    assert browser.get("/gdap/sync/").status_code == 403
    assert not AuditEvent.objects.filter(outcome="denied").exists()
    answer = browser.post("/gdap/sync/")
    assert answer.status_code == 403
    assert "Portal.Admin" in answer.content.decode()
    entry = AuditEvent.objects.get(outcome="denied")
    assert (entry.action, entry.actor_name, entry.status) == ("gdap-sync", "Ines Halloran", 403)
    assert "Portal.Admin" in entry.detail
