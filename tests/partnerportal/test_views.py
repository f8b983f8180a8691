"""The pages that belong to no app."""

import json

import pytest
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, connection

from partnerportal import views
from tests.conftest import Browser

# --- Probes -------------------------------------------------------------------------------------------------


@pytest.fixture
def just_started(monkeypatch):
    monkeypatch.setattr(views, "_known_migrated", False)


@pytest.mark.usefixtures("just_started")
def test_alive_once_the_tables_are_there(db, client, django_assert_num_queries):
    assert client.get("/livez").content == b"ok\n"
    with django_assert_num_queries(0):
        assert client.get("/livez").status_code == 200


@pytest.mark.usefixtures("just_started")
@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_not_before(db, client, monkeypatch, path):
    monkeypatch.setattr(views.MigrationExecutor, "migration_plan", lambda *_args: ["one"])
    answer = client.get(path)
    assert (answer.status_code, answer.content) == (503, b"Run manage.py migrate first.\n")


@pytest.mark.usefixtures("just_started")
def test_no_database(db, client, monkeypatch):
    def gone(*_args, **_kwargs):
        raise DatabaseError("no")

    with monkeypatch.context() as patched:
        patched.setattr(views, "MigrationExecutor", gone)
        assert client.get("/livez").status_code == 503
        patched.setattr(connection, "cursor", gone)
        answer = client.get("/readyz")
    assert (answer.status_code, answer.content) == (503, b"The database does not answer.\n")


def test_ready(db, client):
    assert client.get("/readyz").content == b"ready\n"


# --- CSP reports --------------------------------------------------------------------------------------------


def report(client, body, content_type="application/csp-report", **more):
    return client.post("/csp-report/", data=body, content_type=content_type, **more)


def test_a_csp_report_goes_to_the_log_without_queries(db, caplog):
    told = {"document-uri": "http://127.0.0.1:8000/customers/?q=maya", "blocked-uri": "inline", "sample": "s3cret"}
    client = Browser(enforce_csrf_checks=True)
    assert report(client, json.dumps({"csp-report": told})).status_code == 204
    line = next(record.getMessage() for record in caplog.records if "CSP" in record.getMessage())
    assert "http://127.0.0.1:8000/customers/" in line
    assert "maya" not in line
    assert "s3cret" not in line


@pytest.mark.parametrize(
    "body", ["", "x", "[]", "null", "7", '{"csp-report": 7}', '{"csp-report": null}', "{}", "[" * 5000, b"\xff"]
)
def test_nonsense_is_refused(db, client, body):
    assert report(client, body).status_code == 400


def test_a_large_one_is_refused_unread(db, client):
    assert report(client, "x" * (views.CSP_REPORT_LIMIT + 1)).status_code == 413
    assert report(client, "{}", CONTENT_LENGTH="9" * 4000).status_code == 413


def test_no_line_can_be_forged(db, client, caplog):
    report(client, json.dumps({"csp-report": {"blocked-uri": 'x\n{"level": "forged"}'}}))
    line = next(record.getMessage() for record in caplog.records if "CSP" in record.getMessage())
    assert "\n" not in line


# --- Errors -------------------------------------------------------------------------------------------------


def test_a_refusal_without_a_reason_is_still_a_page(rf):
    request = rf.get("/")
    answer = views.permission_denied(request, PermissionDenied())
    assert answer.status_code == 403
    assert b"You may not do this" in answer.content
