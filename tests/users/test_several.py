"""Several users at once: ticked in the table, looked over, started, and followed to the last row."""

import uuid

import pytest
from django.urls import reverse

from partnerportal.models import AuditEvent
from partnerportal.sandbox import seed
from partnerportal.sandbox.seed_licences import ENTERPRISE_E3
from tests.pages import Page
from users.models import OnboardingRun

from .conftest import tenant, timeless, users_url
from .runs import Kind, State, Worker, checked, newcomers, start, states

ADELE, NORA, KIM, GONE = (seed.SPECIAL_USERS[key] for key in ("plain", "no_location", "duplicate_b", "deleted"))


@pytest.fixture
def worker(monkeypatch):
    found = Worker()
    monkeypatch.setattr("users.tasks.carry_out_row.delay", found.put)
    monkeypatch.setattr("users.tasks.carry_out_row.apply_async", found.put_by)
    monkeypatch.setattr("users.tasks.SHIFT", 0)  # each message is one row
    return found


def several_url(key="contoso"):
    return reverse("users-several", args=[tenant(key)])


def ticked(browser, *ids, query="", **more):
    """The form below the table with these ticks."""
    fields = Page(browser.get(users_url(query=query))).form("op_id").fields
    return fields | {"user": list(ids)} | more


def check_of(browser, fields):
    """The page that is shown before a run is started, and its run."""
    answer = browser.post(several_url(), fields)
    assert answer.status_code == 303, Page(answer).words
    return answer["Location"], OnboardingRun.objects.get()


@pytest.fixture
def proved(monkeypatch):
    """Somebody who has just told Microsoft who they are; how that is asked for is a test of its own."""
    monkeypatch.setattr("partnerportal.sessions.proved_lately", lambda _request: True)


def test_who_may_change_nothing_here_has_nothing_to_tick(signed_in, snapshot, directory):
    for persona, offered in (
        ("reader", []),
        ("writer", ["Change location…", "Licences…"]),
        ("admin", ["Change location…", "Licences…", "Delete…"]),
    ):
        page = Page(signed_in(persona).get(users_url()))
        assert [words for words in ("Change location…", "Licences…", "Delete…") if words in page.words] == offered


def test_a_location_is_changed_for_those_who_are_ticked_and_not_there_already(
    admin, directory, worker, proved, django_capture_on_commit_callbacks
):
    there = directory.users()[ADELE].usage_location
    fields = ticked(admin, ADELE, NORA, str(uuid.uuid4()), do="location")
    asked = Page(admin.post(several_url(), fields))
    assert "Usage location of 3 users" in asked.words
    assert "Check 3 users" in asked.words
    nothing = admin.post(several_url(), fields | {"step": "check"})
    assert (nothing.status_code, "Choose a usage location" in Page(nothing).words) == (422, True)
    url, run = check_of(admin, fields | {"step": "check", "usage_location": there})
    page = Page(admin.get(url))
    assert "1 of 3 rows are ready. 2 will not be sent." in page.words
    assert "The user is not in this customer any more." in page.words
    assert directory.writes() == []
    with django_capture_on_commit_callbacks(execute=True):
        started = admin.post(url, {"step": "start", "op_id": run.key})
    assert started["Location"] == reverse("run", args=[run.key])
    worker.drain()
    assert states(run) == ["stopped", "done", "stopped"]
    assert directory.users()[NORA].usage_location == there
    assert len(directory.writes()) == 1
    page = Page(admin.get(started["Location"]))
    assert "1 of 1 row done" in page.words
    assert "2 rows were left out." in page.words
    assert "Run 1" in Page(admin.get(reverse("runs"))).words.replace(f"Run {run.pk}", "Run 1")
    assert admin.get(url).status_code == 303  # it is under way, or over


def test_a_delete_takes_the_number_typed_and_the_run_lists_them_under_their_names(
    admin, directory, worker, proved, django_capture_on_commit_callbacks
):
    url, run = check_of(admin, ticked(admin, ADELE, KIM, do="delete"))
    wrong = admin.post(url, {"step": "start", "number": "3"})
    assert (wrong.status_code, run.rows.filter(state="draft").count()) == (422, 2)
    assert "Type how many users are deleted: 2" in Page(wrong).words
    with django_capture_on_commit_callbacks(execute=True):
        admin.post(url, {"step": "start", "number": "2"})
    worker.drain()
    assert states(run) == ["done", "done"]
    assert all(directory.users()[user].deleted_at for user in (ADELE, KIM))
    back_url = admin.post(several_url(), ticked(admin, ADELE, query="?state=deleted", do="restore"))["Location"]
    with django_capture_on_commit_callbacks(execute=True):
        admin.post(back_url, {"step": "start"})
    worker.drain()
    assert not directory.users()[ADELE].deleted_at


def test_who_comes_after_the_last_licence_is_told_before_anything_is_sent(admin, directory, sandbox):
    fields = ticked(admin, NORA, ADELE, KIM, do="licences")
    assert f"{ENTERPRISE_E3.name} (" in Page(admin.post(several_url(), fields)).words
    both = fields | {"step": "check", "assign": [ENTERPRISE_E3.id], "remove": [ENTERPRISE_E3.id]}
    assert "either assigned or taken away" in Page(admin.post(several_url(), both)).words
    _, run = check_of(admin, fields | {"step": "check", "assign": [ENTERPRISE_E3.id]})
    problems = [row.problems for row in run.rows.order_by("line")]
    assert problems[0][0]["sentence"].startswith("Has no usage location.")
    assert directory.writes() == []


def holders(directory, product):
    """The ids of those whom a licence can be assigned to: who has it, and who has not."""
    people = [user for user in directory.users().values() if user.usage_location and not user.deleted_at]
    has = [user.id for user in people if product.id in {each.sku_id for each in user.licences}]
    return has, [user.id for user in people if user.id not in has]


def test_who_has_a_licence_already_takes_none_of_what_is_left(admin, directory):
    has, others = holders(directory, ENTERPRISE_E3)
    assert (len(has), len(others) >= 4) == (2, True)  # of five units three are left
    fields = ticked(admin, *others[:3], *has, do="licences", step="check", assign=[ENTERPRISE_E3.id])
    _, run = check_of(admin, fields)
    assert [row.problems for row in run.rows.all()] == [[]] * 5
    OnboardingRun.objects.all().delete()
    fields = ticked(admin, *has, *others[:4], do="licences", step="check", assign=[ENTERPRISE_E3.id])
    _, run = check_of(admin, fields)
    told = [row.problems[0]["sentence"] if row.problems else "" for row in run.rows.order_by("line")]
    assert told == [""] * 5 + [f"4 would need {ENTERPRISE_E3.name}, and 3 are left."]
    assert directory.writes() == []


@pytest.mark.parametrize("silent", [True, False])
def test_of_whom_we_cannot_see_what_they_have_counts_as_one_who_needs_a_licence(
    admin, directory, sandbox, monkeypatch, silent
):
    """`silent`: Partner Center does not tell it; else there are more users than are asked about."""
    if silent:
        sandbox.fault("partnercenter", "status", method="GET", path="/licenses$", status=500, times=0)
        monkeypatch.setattr("partnerportal.upstream.patience.time.sleep", lambda _seconds: None)
    else:
        monkeypatch.setattr("users.onboarding.several.MOST_ASKED", 0)
    has, others = holders(directory, ENTERPRISE_E3)
    fields = ticked(admin, *others[:3], *has, do="licences", step="check", assign=[ENTERPRISE_E3.id])
    _, run = check_of(admin, fields)
    assert [bool(row.problems) for row in run.rows.order_by("line")] == [False] * 3 + [True] * 2


def test_a_run_is_made_once_and_an_op_id_of_something_else_shows_nothing(admin, signed_in, directory):
    fields = ticked(admin, ADELE, do="delete")
    url, _ = check_of(admin, fields)
    assert admin.post(several_url(), fields)["Location"] == url
    assert OnboardingRun.objects.count() == 1
    for other in ({"user": [NORA]}, {"do": "restore"}):
        assert admin.post(several_url(), fields | other).status_code == 409
    nobody = admin.post(several_url(), fields | {"user": [], "op_id": str(uuid.uuid4())})
    assert (nobody.status_code, "No user is ticked." in Page(nobody).words) == (422, True)


@pytest.mark.parametrize(
    ("do", "first", "then"),
    [
        ("location", {"usage_location": "FR"}, {"usage_location": "JP"}),
        ("licences", {"assign": [ENTERPRISE_E3.id]}, {"remove": [ENTERPRISE_E3.id]}),
        ("delete", {"user": [ADELE]}, {"user": [ADELE, KIM]}),
    ],
)
def test_another_choice_after_back_is_refused_and_the_page_leads_to_a_run_of_it(admin, directory, do, first, then):
    fields = ticked(admin, ADELE, NORA, do=do, step="check")
    _, run = check_of(admin, fields | first)
    refused = admin.post(several_url(), fields | then)
    page = Page(refused)
    assert (refused.status_code, "This form was used already" in page.words) == (409, True)
    assert not [told for told in (str(run.key), run.title, f"Run {run.pk}") if told in page.html]
    assert OnboardingRun.objects.count() == 1
    answer = admin.post(several_url(), page.form("op_id").fields)  # as it came: what was chosen stands in it
    assert answer.status_code == 303
    other = OnboardingRun.objects.exclude(pk=run.pk).get()
    told, before = (list(each.rows.values_list("target_id", "fields")) for each in (other, run))
    assert told != before
    assert answer["Location"] == reverse("run-check", args=[other.key])
    assert admin.post(several_url(), fields | first)["Location"] == reverse("run-check", args=[run.key])
    assert directory.writes() == []


def test_a_whole_page_of_500_can_go_as_one_field_and_what_is_too_much_says_so(admin, directory):
    fields = ticked(admin, do="location")
    many = [str(uuid.uuid4()) for _ in range(501)]
    ticks = admin.post(several_url(), fields | {"user": many})  # without scripts: each is a field
    assert (ticks.status_code, "A form may have 200 fields" in Page(ticks).words) == (400, True)
    refused = admin.post(several_url(), fields | {"user": [], "users": ",".join(many)})
    assert (refused.status_code, "At most 500 users at once" in Page(refused).words) == (422, True)
    asked = Page(admin.post(several_url(), fields | {"user": [], "users": ",".join(many[:500])}))
    assert "Usage location of 500 users" in asked.words
    _, run = check_of(admin, asked.form("op_id").fields | {"usage_location": "DE"})
    assert list(run.rows.order_by("line").values_list("target_id", flat=True)) == many[:500]


def test_starting_needs_a_sign_in_of_the_last_quarter_of_an_hour(admin, worker, directory):
    url, run = check_of(admin, ticked(admin, ADELE, do="delete"))
    page = admin.get(url)
    assert "Sign in again to go on" in Page(page).words
    assert "Microsoft must have asked for your password or key within the last 15 minutes" in Page(page).words
    assert admin.post(url, {"step": "start", "number": "1"}).status_code == 403
    run.refresh_from_db()
    assert (run.state, directory.writes()) == (State.CHECKED, [])
    assert "prompt=login" in admin.get(Page(page).href("Sign in again to go on"))["Location"]


def test_what_nobody_can_tell_is_not_tried_on_several_users(signed_in, snapshot, directory):
    outsider = signed_in("outsider")
    answer = outsider.post(several_url(), {"op_id": uuid.uuid4(), "do": "location", "user": [ADELE]})
    assert (answer.status_code, directory.writes()) == (403, [])


def test_somebody_elses_run_is_not_there_and_an_administrator_may_stop_it_only(
    signed_in, snapshot, directory, worker, django_capture_on_commit_callbacks
):
    writer, nested, admin = signed_in("writer"), signed_in("nested"), signed_in("admin")
    run = checked("writer")
    newcomers(run, "anna", "bert")
    start(run, "writer")
    nowhere = uuid.uuid4()
    for name in ("run", "run-check", "run-results"):
        theirs, unknown = (nested.get(reverse(name, args=[key])) for key in (run.key, nowhere))
        assert (theirs.status_code, unknown.status_code) == (404, 404)
        assert timeless(theirs).replace(str(run.key), "") == timeless(unknown).replace(str(nowhere), "")
    assert nested.post(reverse("run", args=[run.key]), {"step": "stop"}).status_code == 404
    url = reverse("run", args=[run.key])
    assert "Starters" in Page(admin.get(reverse("runs"))).words
    admin.post(url, {"step": "pause"})
    assert admin.post(url, {"step": "resume"}).status_code == 403
    with django_capture_on_commit_callbacks(execute=True):
        writer.post(url, {"step": "resume"})
    assert len(worker.messages) == 2
    admin.post(url, {"step": "stop"})
    run.refresh_from_db()
    assert (run.state, states(run)) == (State.STOPPED, ["stopped", "stopped"])
    assert AuditEvent.objects.get(action="run ended", kind="outcome").detail == "2 not sent"
    stopped = AuditEvent.objects.filter(action="run stopped", kind="intent").get()
    assert stopped.actor_oid == seed.PERSONA_OIDS["admin"]
    run.rows.first().customer.__class__.objects.update(listed=False)
    assert writer.get(url).status_code == 404  # the customer is not the partner's any more


def test_the_page_polls_until_the_run_is_over_and_says_aloud_what_is_new(admin, worker):
    run = checked()
    newcomers(run, *(f"person{number}" for number in range(4)))
    start(run)
    url = reverse("run", args=[run.key])
    page = admin.get(url)
    poll = Page(page).attributes(id="progress")["hx-get"]
    assert "0 of 4 rows done" in Page(page).words
    assert admin.htmx("GET", poll).status_code == 200
    worker.drain(run)
    last = admin.htmx("GET", poll)
    assert last.status_code == 286
    assert f"Run {run.pk}: Done. 4 of 4 rows done, 0 failed" in last.content.decode()
    assert "0 of 4" not in last.content.decode()
    assert "Nothing here" not in Page(admin.get(f"{url}?status=failed")).words
    assert "No row here" in Page(admin.get(f"{url}?status=failed")).words


def test_undo_leads_to_a_run_of_its_own_that_can_be_looked_over(admin, worker):
    run = checked()
    newcomers(run, "anna")
    start(run)
    worker.drain(run)
    answer = admin.post(reverse("run", args=[run.key]), {"step": "undo"})
    page = Page(admin.get(answer["Location"]))
    assert f"Undoes run {run.pk}" in page.words
    assert OnboardingRun.objects.get(origin=run).kind == Kind.DELETE
    assert admin.post(answer["Location"], {"step": "discard"})["Location"] == reverse("runs")
    assert not OnboardingRun.objects.filter(origin=run).exists()


def test_the_results_are_a_file_without_a_password_and_in_the_trail(admin, directory, worker):
    run = checked()
    newcomers(run, "anna")
    run.rows.update(target_name="=cmd()")
    start(run)
    worker.drain(run)
    answer = admin.get(reverse("run-results", args=[run.key]))
    text = b"".join(answer.streaming_content).decode("utf-8-sig")
    header, row = text.splitlines()
    assert header.startswith('"Row","Customer","Tenant ID"')
    user = directory.named("anna")[0]
    assert '"\'=cmd()"' in row
    assert '"Created"' in row
    assert user.id in row
    assert str(run.rows.get().op_id) in row
    assert user.password not in text
    assert AuditEvent.objects.filter(action="export run").count() == 2


def test_a_post_that_does_not_say_start_starts_nothing(admin, proved):
    url, run = check_of(admin, ticked(admin, ADELE, do="delete"))
    assert admin.post(url, {"number": "1"}).status_code == 404
    run.refresh_from_db()
    assert run.state == State.CHECKED
