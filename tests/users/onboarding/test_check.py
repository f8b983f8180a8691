"""From a file to a run that is ready: the upload, the check against the cloud, mending in place; nothing is sent."""

import threading
import uuid
from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from customers.models import Customer
from partnerportal import clock, pace
from partnerportal.models import AuditEvent, Pace, TokenCache
from partnerportal.sandbox import seed
from partnerportal.sandbox.seed_licences import CLASSROOM
from partnerportal.sessions import PROVED_AT, UNPROVED
from tests.customers.gdap_reads import grant_of
from tests.pages import Page
from users.models import (
    ColumnMeaning,
    OnboardingCheck,
    OnboardingRow,
    OnboardingRun,
    Operation,
    UserTemplate,
    WaitingFile,
)
from users.onboarding import check, columns, delivery, steering
from users.onboarding import run as engine
from users.onboarding.check import side_by_side
from users.onboarding.sheet import MOST_COLUMNS
from users.tasks import keep_checks, purge_secrets, start_checking

from ..conftest import tenant
from .made import csv, workbook

NEW = "/onboarding/new/"
CONTOSO = f"{NEW}?customer={seed.SPECIAL['contoso']}"
DOMAIN = "contosotrading.onmicrosoft.example"  # the default one
OTHER = "contosotrading.example"
HEADER = ("Vorname", "Nachname", "Benutzername", "Land", "Lizenz", "Kunde")


def upload(browser, data, name="winter-starters.csv", url=NEW, **more):
    """The answer to a file, sent with the form as it comes."""
    fields = Page(browser.get(url)).form("op_id").fields | more
    return browser.post(NEW, fields | {"file": SimpleUploadedFile(name, data)})


def checked():
    """The newest run after its check, as the worker does it."""
    run = OnboardingRun.objects.first()
    check.carry_out(run.checking.pk)
    run.refresh_from_db()
    return run


def sent(browser, *rows, header=HEADER, url=CONTOSO, **more):
    """A run of these rows, checked."""
    answer = upload(browser, csv(header, *rows), url=url, **more)
    assert answer.status_code == 303, Page(answer).words
    return checked()


def page_of(browser, run, query=""):
    answer = browser.get(reverse("run-check", args=[run.key]) + query)
    assert answer.status_code == 200
    return Page(answer)


def mend(browser, run, **cells):
    answer = browser.post(
        reverse("run-check", args=[run.key]), {name.replace("_", "-", 2): text for name, text in cells.items()}
    )
    assert answer.status_code == 303
    return checked()


def problems(run):
    """Line -> what stands in its way."""
    return {row.line: " ".join(each["sentence"] for each in row.problems) for row in run.rows.all()}


# --- The check ----------------------------------------------------------------------------------------------


def test_an_hr_sheet_becomes_a_run_and_what_is_wrong_is_told_in_words(admin, directory):
    run = sent(
        admin,
        ("Zoë", "van den Berg", "zoe.berg", "Niederlande", "", ""),
        ("Jürgen", "Groß", "", "Deutschland", "", ""),
        ("Piotr", "Zieliński", "piotr@contosotradin.example", "Polen", "", ""),
        ("Ann", "Lee", "ann lee", "Deutschlnd", "", ""),
        ("Ben", "Low", "ben.low", "DE", "", "Nobody & Sons"),
        ("Example", "Person", "x", "", "", "example"),
    )
    assert run.state == OnboardingRun.State.CHECKED
    assert (run.title, run.source) == ("winter starters", "winter-starters.csv")
    told = problems(run)
    assert list(told) == [2, 3, 4, 5, 6]
    assert (told[2], told[3]) == ("", "")
    assert told[4] == f"contosotradin.example is not a domain of Contoso Trading. Did you mean {OTHER}?"
    assert "User name can have letters" in told[5]
    assert "“Deutschlnd” is no country or region that we know. Did you mean Germany?" in told[5]
    assert told[6].startswith("No customer has the tenant ID, domain or name “Nobody & Sons”.")
    zoe, juergen = run.rows.filter(line__in=(2, 3))
    assert zoe.fields == {
        "user_principal_name": f"zoe.berg@{DOMAIN}",
        "display_name": "Zoë van den Berg",
        "first_name": "Zoë",
        "last_name": "van den Berg",
        "usage_location": "NL",
        "immutable_id": "",
    }
    assert juergen.user_name == f"jurgen.gross@{DOMAIN}"
    assert directory.writes() == []
    assert Operation.objects.count() == 0


def test_the_page_shows_problems_first_and_the_button_says_the_number(admin):
    run = sent(admin, ("Zoë", "Berg", "zoe.berg", "NL", "", ""), ("Ann", "Lee", "ann lee", "DE", "", ""))
    page = page_of(admin, run)
    assert "1 of 2 rows are ready. 1 row needs a change" in page.words
    assert "Create 1 user in 1 customer" in page.words
    assert page.words.index("Ann Lee") < page.words.index("Zoë Berg")
    assert DOMAIN.replace(".", ".<wbr>") in page.html  # so that a narrow column breaks it nowhere else
    assert seed.SPECIAL["contoso"][:4] in page.words
    assert "cell-3-user_name" in page.form("cell-3-user_name").fields


def test_a_cell_is_mended_in_place_and_its_customer_checked_anew(admin, directory):
    run = sent(admin, ("Zoë", "Berg", "zoe.berg", "NL", "", ""), ("Ann", "Lee", "ann lee", "DE", "", ""))
    run = mend(admin, run, cell_3_user_name="ann.lee")
    assert problems(run) == {2: "", 3: ""}
    assert run.rows.get(line=3).fields["user_principal_name"] == f"ann.lee@{DOMAIN}"
    assert run.rows.get(line=3).typed["first_name"] == "Ann"


def test_a_user_name_that_is_proposed_follows_the_names_until_somebody_types_one(admin):
    run = sent(admin, ("Jon", "Smith", "", "NL", "", ""))
    url = reverse("run-check", args=[run.key])

    def saved(**cells):
        """The row after its cells were saved as a browser sends them: all that stand in the form."""
        shown = page_of(admin, run, "?edit=2").form("cell-2-first_name").fields
        admin.post(url, shown | {f"cell-2-{field}": text for field, text in cells.items()})
        checked()
        return run.rows.get()

    assert saved(first_name="John").user_name == f"john.smith@{DOMAIN}"
    assert "user_name" not in saved(last_name="Smyth").typed
    typed = saved(user_name="johnny")
    assert (typed.user_name, typed.typed["user_name"]) == (f"johnny@{DOMAIN}", "johnny")
    assert saved(first_name="Jim").user_name == f"johnny@{DOMAIN}"
    assert saved(user_name="").user_name == f"jim.smyth@{DOMAIN}"


def test_what_a_second_tab_shows_of_before_undoes_nothing_that_the_first_has_mended(admin):
    run = sent(admin, ("Zoë", "Berg", "", "XX", "", ""), ("Ann", "Lee", "", "YY", "", ""))
    url = reverse("run-check", args=[run.key])
    first, second = (page_of(admin, run).form("cell-2-usage_location").fields for _ in range(2))
    admin.post(url, first | {"cell-2-usage_location": "NL"})
    checked()
    admin.post(url, second | {"cell-3-usage_location": "DE"})
    checked()
    assert [row.typed["usage_location"] for row in run.rows.order_by("line")] == ["NL", "DE"]


def test_a_proposal_that_comes_back_after_the_check_has_made_another_was_not_typed(admin):
    run = sent(admin, ("Jon", "Smith", "", "NL", "", ""))
    url = reverse("run-check", args=[run.key])
    old = page_of(admin, run, "?edit=2").form("cell-2-first_name").fields
    admin.post(url, old | {"cell-2-first_name": "John"})
    checked()
    admin.post(url, old | {"cell-2-last_name": "Smyth"})
    checked()
    row = run.rows.get()
    assert (row.typed.get("user_name", ""), row.user_name) == ("", f"john.smyth@{DOMAIN}")


def test_a_cell_of_two_lines_is_not_changed_by_the_browser_that_shows_it_on_one(admin):
    upload(admin, workbook(HEADER, ("Zoë", "Berg", "zoe\nberg", "XX", "", "")), name="starters.xlsx", url=CONTOSO)
    run = checked()
    fields = page_of(admin, run).form("cell-2-user_name").fields
    one_line = fields["cell-2-user_name"].replace("\n", "")
    admin.post(reverse("run-check", args=[run.key]), fields | {"cell-2-user_name": one_line})
    assert run.rows.get().typed["user_name"] == "zoe\nberg"


def test_a_proposal_is_taken_with_one_button(admin, directory):
    run = sent(admin, ("Adele", "Vance", directory.special("plain").upn, "DE", "", ""))
    (problem,) = run.rows.get().problems
    assert "is taken by" in problem["sentence"]
    value, words = problem["choices"][0]
    assert words in page_of(admin, run).words
    admin.post(reverse("run-check", args=[run.key]), {"use": f"cell-2-user_name={value}"})
    run = checked()
    assert (problems(run), run.rows.get().user_name) == ({2: ""}, value)


def test_names_are_looked_for_among_active_users_deleted_ones_other_rows_and_other_runs(admin, directory):
    plain, deleted = directory.special("plain"), directory.special("deleted")
    gone = deleted.upn.removeprefix(deleted.id.replace("-", ""))
    first = sent(admin, ("Kim", "Ode", "kim.ode", "DE", "", ""))
    first.rows.update(state=OnboardingRow.State.QUEUED)
    OnboardingRun.objects.update(state=OnboardingRun.State.RUNNING)
    run = sent(
        admin,
        ("A", "B", plain.upn.upper(), "DE", "", ""),
        ("C", "D", gone, "DE", "", ""),
        ("E", "F", "e.f", "DE", "", ""),
        ("E", "F", "E.F", "DE", "", ""),
        ("Kim", "Ode", "kim.ode", "DE", "", ""),
    )
    told = problems(run)
    assert f"is taken by {plain.display_name}" in told[2]
    assert "was deleted. Restore them, or choose another name." in told[3]
    assert told[4] == "Row 5 has this user name too."
    assert told[5] == "Row 4 has this user name too."
    assert told[6].startswith(f"Run {first.pk} of ")


def test_who_is_there_with_the_same_values_is_nothing_to_do(admin, directory):
    plain = directory.special("plain")
    header = ("First name", "Last name", "Display name", "User name", "Usage location")
    row = (plain.first_name, plain.last_name, plain.display_name, plain.upn, plain.usage_location)
    run = sent(admin, row, ("Al", "B", "Al B", plain.upn, "DE"), ("C", "D", "C D", "c.d", "DE"), header=header)
    assert "is there already, with the same values. Nothing to do" in problems(run)[2]
    steering.start(run, by=run.by, grant=grant_of("admin"))
    found = list(run.rows.values_list("state", "target_id"))
    assert found == [("conflict", plain.id), ("differs", plain.id), ("queued", "")]


def test_the_reads_of_a_check_take_their_turns_like_the_rows_of_runs(admin, directory, settings, monkeypatch):
    settings.PARTNER_CENTER_RATES = (4, 1000)
    slept = []
    monkeypatch.setattr("partnerportal.pace.time.sleep", slept.append)
    sent(admin, ("A", "B", "a.b", "DE", "", ""))
    asked = [line for line in directory.sandbox.journal("partnercenter") if tenant("contoso") in line["path"]]
    assert len(asked) == 3
    assert sum(slept) > 0.25 * 2 - 0.1  # a quarter of a second apart, less what the sandbox took


def test_while_microsoft_asks_for_patience_a_check_asks_nothing_and_says_so(admin, directory):
    later = clock.now() + timedelta(minutes=10)
    Pace.objects.create(key=tenant("contoso"), resumes_at=later)
    told = problems(sent(admin, ("A", "B", "a.b", "DE", "", "")))
    assert told[2].startswith("This customer could not be checked.")
    assert [line for line in directory.sandbox.journal("partnercenter") if tenant("contoso") in line["path"]] == []


def test_a_429_that_a_check_hears_slows_the_runs_of_that_customer_too(admin, sandbox, monkeypatch):
    monkeypatch.setattr("partnerportal.upstream.patience.time.sleep", lambda _seconds: None)
    sandbox.fault("partnercenter", "status", method="GET", path=tenant("contoso"), status=429, times=0)
    sent(admin, ("A", "B", "a.b", "DE", "", ""))
    assert pace.full_until(tenant("contoso")) is not None
    assert pace.full_until(tenant("medium")) is None


def test_licences_are_counted_over_the_whole_run(admin):
    rows = [(f"N{n}", "X", f"n{n}.x", "DE", "Minecraft Education", "") for n in range(7)]
    told = problems(sent(admin, *rows, ("Y", "Z", "y.z", "DE", "Power BI Pro | Nonsense", "")))
    assert [line for line, sentence in told.items() if not sentence] == [2, 3, 4, 5, 6]
    assert told[7].startswith("Minecraft Education: this run needs 7, 5 free.")
    assert "The customer has no licence “Nonsense”." in told[9]
    assert OnboardingRow.objects.get(line=2).licences == {CLASSROOM.id: "Minecraft Education"}


def test_each_customer_is_judged_by_the_rights_of_whoever_asks_and_asked_for_nothing_else_without(writer, sandbox):
    run = sent(
        writer,
        ("A", "B", "a.b", "DE", "", ""),
        ("C", "D", "c.d", "DE", "", seed.SPECIAL["readonly"]),
        ("E", "F", "e.f", "DE", "", "writer-only.example"),
    )
    told = problems(run)
    assert told[2] == ""
    assert "User Administrator" in told[3]
    asked = [line["path"] for line in sandbox.journal("partnercenter")]
    assert not [path for path in asked if seed.SPECIAL["readonly"] in path]


def test_customers_are_named_by_tenant_id_domain_or_exact_name_and_ambiguous_ones_ask(admin):
    name = Customer.objects.get(tenant_id=tenant("contoso")).name
    twins = list(Customer.objects.filter(tenant_id__isnull=False).exclude(name=name)[:2])
    Customer.objects.filter(pk__in=[each.pk for each in twins]).update(
        name="Twin & Sons", sort_name="twin & sons", search_text="twin & sons"
    )
    run = sent(
        admin,
        ("A", "B", "a.b", "DE", "", tenant("contoso").upper()),
        ("C", "D", "c.d", "DE", "", DOMAIN),
        ("E", "F", "e.f", "DE", "", name.upper()),
        ("G", "H", f"g.h@{DOMAIN}", "DE", "", ""),
        ("I", "J", "i.j", "DE", "", "Twin & Sons"),
        ("K", "L", "k.l", "DE", "", ""),
        url=NEW,
    )
    assert [row.tenant_id for row in run.rows.filter(line__lt=6)] == [tenant("contoso")] * 4
    told = problems(run)
    assert told[6] == "2 customers are named “Twin & Sons”. Choose one, by its domain or tenant ID"
    assert told[7] == "Say which customer this user is for"
    choices = run.rows.get(line=6).problems[0]["choices"]
    assert {value for value, _ in choices} == {each.tenant_id for each in twins}


def test_what_a_template_locks_holds_for_a_file(admin):
    customer = Customer.objects.get(tenant_id=tenant("contoso"))
    rules = {
        "usage_location": {"mode": "locked", "value": "NL"},
        "user_name": {"mode": "default", "value": "flast"},
    }
    UserTemplate.objects.create(customer=customer, rules=rules, changed_by=TokenCache.objects.first().operator)
    run = sent(admin, ("Ann", "Lee", "", "", "", ""), ("Bo", "Day", "", "DE", "", ""), ("Cy", "Fox", "", "NL", "", ""))
    told = problems(run)
    assert (told[2], told[4]) == ("", "")
    assert told[3].startswith("Usage location is locked by Contoso Trading’s defaults: Netherlands.")
    assert run.rows.get(line=2).fields["usage_location"] == "NL"
    assert run.rows.get(line=2).user_name == f"alee@{DOMAIN}"


def test_a_row_that_names_no_licence_gets_those_of_the_template_as_far_as_they_go(admin):
    customer = Customer.objects.get(tenant_id=tenant("contoso"))
    rules = {"licences": {"mode": "default", "value": "MEE_FACULTY"}}  # of which five are free
    UserTemplate.objects.create(customer=customer, rules=rules, changed_by=TokenCache.objects.first().operator)
    rows = [(f"N{n}", "X", f"n{n}.x", "DE", "", "") for n in range(6)]
    run = sent(admin, *rows, ("Y", "Z", "y.z", "DE", "Minecraft Education", ""), ("A", "B", "a.b", "DE", "no", ""))
    assert set(problems(run).values()) == {""}
    with_one = [row.line for row in run.rows.all() if row.licences == {CLASSROOM.id: "Minecraft Education"}]
    assert with_one == [2, 3, 4, 5, 8]  # who asked for it goes first
    told = [[note["sentence"] for note in row.notes] for row in run.rows.filter(line__in=(6, 7, 9))]
    assert told == [["None left of Minecraft Education: created without"]] * 2 + [[]]
    assert "With Minecraft Education" in page_of(admin, run).words


# --- The walk -----------------------------------------------------------------------------------------------


def test_an_edit_during_the_walk_is_not_lost(admin, monkeypatch):
    upload(admin, csv(HEADER, ("Ann", "Lee", "ann lee", "DE", "", "")), url=CONTOSO)
    run = OnboardingRun.objects.get()
    judge_all = check._judge

    def slowly(walk, customer, answers):
        monkeypatch.setattr(check, "_judge", judge_all)
        check.edit(run, {2: {"user_name": "ann.lee"}}, grant=grant_of("admin"))
        judge_all(walk, customer, answers)

    monkeypatch.setattr(check, "_judge", slowly)
    check.carry_out(run.checking.pk)
    assert run.rows.get().checked_at is None
    assert OnboardingCheck.objects.get().open
    assert problems(checked()) == {2: ""}


def test_a_customer_that_does_not_answer_is_told_and_the_others_are_checked(admin, sandbox):
    other = Customer.objects.get(tenant_id=tenant("one_user"))
    sandbox.fault("partnercenter", "status", method="GET", path=f"{tenant('contoso')}/users", status=500, times=0)
    run = sent(admin, ("A", "B", "a.b", "DE", "", ""), ("C", "D", "c.d", "DE", "", other.tenant_id))
    told = problems(run)
    assert told[2].startswith("This customer could not be checked.")
    assert told[3] == ""


def test_a_check_is_good_for_fifteen_minutes_and_made_anew_before_the_start(admin):
    run = sent(admin, ("A", "B", "a.b", "DE", "", ""))
    assert check.is_fresh(run)
    OnboardingRun.objects.update(checked_at=clock.now() - timedelta(minutes=16))
    url = reverse("run-check", args=[run.key])
    assert "That is more than 15 minutes ago" in Page(admin.get(url)).words
    assert "Sign in again to create them" in Page(admin.get(url)).words
    session = admin.session
    session[PROVED_AT] = clock.now().timestamp()
    session.save()
    admin.post(url, {"step": "start", "walk": str(run.checking.fence)})
    run.refresh_from_db()
    assert run.state == OnboardingRun.State.DRAFT
    assert check.is_fresh(checked())


def test_whoever_has_signed_in_anew_and_proved_nothing_is_told_why(admin):
    run = sent(admin, ("A", "B", "a.b", "DE", "", ""))
    session = admin.session
    session[UNPROVED] = "untold"
    session.save()
    words = Page(admin.get(reverse("run-check", args=[run.key]))).words
    assert "has to add the optional claim auth_time" in words
    assert "Sign in again to create them" in words


def test_a_check_goes_on_with_the_newer_sign_in_of_whoever_asked_for_it(admin):
    upload(admin, csv(HEADER, ("Jon", "Smith", "", "NL", "", "")), url=CONTOSO)
    admin.sign_in("admin")  # in another tab, to prove who they are
    run = checked()
    assert (run.state, run.checking.problem) == (OnboardingRun.State.CHECKED, "")


def test_the_walk_ends_with_the_sign_in_that_asked_for_it(admin):
    upload(admin, csv(HEADER, ("A", "B", "a.b", "DE", "", "")), url=CONTOSO)
    TokenCache.objects.all().delete()
    walk = OnboardingCheck.objects.get()
    check.carry_out(walk.pk)
    walk.refresh_from_db()
    assert (walk.open, walk.problem) == (False, check.SIGNED_OUT)


def test_a_run_creates_who_is_ready_with_their_licences_and_leaves_out_the_others(admin, directory):
    run = sent(
        admin, ("Zoë", "Berg", "zoe.berg", "NL", "Minecraft Education", ""), ("Ann", "Lee", "ann lee", "DE", "", "")
    )
    session = admin.session
    session[PROVED_AT] = clock.now().timestamp()
    session.save()
    answer = admin.post(reverse("run-check", args=[run.key]), {"step": "start", "walk": str(run.checking.fence)})
    assert answer["Location"] == reverse("run", args=[run.key])
    directory.asked()
    engine.carry_out(run.rows.get(line=2).pk)
    assert "partnercenter GET /v1/customers/…/users" not in directory.asked()  # the check has seen the names
    assert Operation.objects.get(kind=Operation.Kind.CREATE).seen_absent_at
    (zoe,) = directory.named("zoe.berg")
    assert [licence.sku_id for licence in zoe.licences] == [CLASSROOM.id]
    ready, left_out = run.rows.all()
    assert (ready.state, ready.detail) == ("done", "The licence was assigned: Minecraft Education.")
    assert left_out.state == "stopped"
    assert left_out.detail.startswith("Not sent. User name can have letters")
    assert directory.named("ann lee") == []


# --- The pages ----------------------------------------------------------------------------------------------


def started(browser, run):
    """After its start, with all its rows carried out."""
    session = browser.session
    session[PROVED_AT] = clock.now().timestamp()
    session.save()
    browser.post(reverse("run-check", args=[run.key]), {"step": "start", "walk": str(run.checking.fence)})
    for row in run.rows.filter(state="queued"):
        engine.carry_out(row.pk)
    delivery.finish(run)
    run.refresh_from_db()
    return run


def test_the_rows_that_need_a_change_go_into_a_run_of_their_own_once(admin, directory):
    good, bad = ("Jon", "Smith", "jon.smith", "NL", "", ""), ("Ada", "Lind", "böse", "NL", "", "")
    run = started(admin, sent(admin, good, bad))
    page = Page(admin.get(reverse("run", args=[run.key])))
    assert "1 of 1 row done" in page.words
    assert "1 row was left out." in page.words
    assert "Fix 1 row" in page.words
    assert "Press Fix on the page of the run, and mend the row there." in page.words
    for _ in range(2):  # pressed twice
        answer = admin.post(reverse("run", args=[run.key]), {"step": "mend"})
    mending = OnboardingRun.objects.get(origin=run)
    assert answer["Location"] == reverse("run-check", args=[mending.key])
    mending = checked()
    assert list(mending.rows.values_list("line", "target_name")) == [(3, "Ada Lind")]
    assert f"Rows of run {run.pk} that need a change" in page_of(admin, mending).words
    mending = started(admin, mend(admin, mending, cell_3_user_name="ada.lind"))
    assert [user.display_name for name in ("ada.lind", "jon.smith") for user in directory.named(name)] == [
        "Ada Lind",
        "Jon Smith",
    ]
    assert "Fix 1 row" not in Page(admin.get(reverse("run", args=[run.key]))).words  # it was sent since
    admin.post(reverse("run", args=[run.key]), {"step": "mend"})
    assert OnboardingRun.objects.count() == 2


def test_a_row_that_is_being_mended_is_not_tried_again_where_it_came_from(admin, sandbox, directory):
    run = sent(admin, ("Jon", "Smith", "jon.smith", "NL", "", ""))
    sandbox.fault("partnercenter", "status", method="POST", path="/users$", status=400)
    run = started(admin, run)
    url = reverse("run", args=[run.key])
    assert "Try 1 row again" in Page(admin.get(url)).words
    mending_url = admin.post(url, {"step": "mend"})["Location"]
    asked = len(directory.writes())
    assert "Try 1 row again" not in Page(admin.get(url)).words
    assert "No row was tried again, and nothing was changed" in Page(admin.post(url, {"step": "again"})).words
    assert (list(run.rows.values_list("state", flat=True)), len(directory.writes())) == (["refused"], asked)
    admin.post(mending_url, {"step": "discard"})
    assert "Try 1 row again" in Page(admin.get(url)).words


def test_who_did_not_start_a_run_mends_none_of_its_rows(writer, admin):
    run = started(writer, sent(writer, ("Ada", "Lind", "böse", "NL", "", ""), ("Jon", "Smith", "", "NL", "", "")))
    assert "Fix 1 row" not in Page(admin.get(reverse("run", args=[run.key]))).words
    assert admin.post(reverse("run", args=[run.key]), {"step": "mend"}).status_code == 403
    assert not OnboardingRun.objects.exclude(pk=run.pk).exists()


def test_what_failed_stands_first_once_a_run_is_over(admin):
    run = started(admin, sent(admin, ("Jon", "Smith", "", "NL", "", ""), ("Ada", "Lind", "böse", "NL", "", "")))
    words = Page(admin.get(reverse("run", args=[run.key]))).words
    assert words.index("Ada Lind") < words.index("Jon Smith")


def test_before_it_is_checked_a_row_is_called_what_its_line_says(admin):
    upload(admin, csv(HEADER, ("Ada", "Lind", "", "NL", "", "")), url=CONTOSO)
    assert "Ada Lind" in page_of(admin, OnboardingRun.objects.get()).words


def test_a_row_without_any_name_shows_no_domain_as_one(admin):
    run = sent(admin, ("", "", "", "NL", "", ""), ("Jon", "Smith", "", "NL", "", ""))
    row = run.rows.get(line=2)
    assert (row.user_name, row.creates) == ("", "")
    assert "No name" in page_of(admin, run).words


def test_a_file_is_refused_on_the_page_and_nothing_of_it_is_kept(admin):
    answer = upload(admin, b'User name,Country\na.b,"DE\n')
    assert answer.status_code == 422
    assert "Row 2: A quotation mark is opened" in Page(answer).words
    assert not OnboardingRun.objects.exists()
    assert upload(admin, workbook(HEADER), "starters.csv").status_code == 422
    assert AuditEvent.objects.filter(action="read a file of new users", outcome="failed").count() == 2


def test_columns_that_are_not_clear_are_asked_about_once(admin):
    data = csv(("Wer", "Vorname", "E-Mail", "Team"), ("Lee", "Ann", f"ann.lee@{DOMAIN}", "Red"))
    asked = upload(admin, data, url=CONTOSO)
    assert (asked.status_code, WaitingFile.objects.count(), OnboardingRun.objects.count()) == (303, 1, 0)
    page = Page(admin.get(asked["Location"]))
    fields = page.form("column-0").fields
    assert [fields[f"column-{n}"] for n in range(4)] == ["", "first_name", "user_name", ""]
    answer = admin.post(asked["Location"], fields | {"column-0": "last_name"})
    assert answer.status_code == 303
    assert problems(checked()) == {2: ""}
    assert OnboardingRow.objects.get().fields["display_name"] == "Ann Lee"
    assert not WaitingFile.objects.exists()
    assert ColumnMeaning.objects.get(header="wer").field == "last_name"
    assert upload(admin, data, url=CONTOSO)["Location"].endswith("/check/")


def test_columns_that_were_told_lead_to_their_run_when_the_form_comes_again(admin):
    asked = upload(admin, csv(("E-Mail",), ("maya.lind@contosotrading.example",)), url=CONTOSO)["Location"]
    fields = Page(admin.get(asked)).form("column-0").fields
    first = admin.post(asked, fields)
    again, opened = admin.post(asked, fields), admin.get(asked)
    assert [answer.status_code for answer in (first, again, opened)] == [303, 303, 303]
    assert first["Location"] == again["Location"] == opened["Location"]


def test_as_many_columns_as_a_file_may_have_fit_into_the_form_that_asks_about_them(admin):
    header = ("E-Mail", *(f"c{number}" for number in range(MOST_COLUMNS - 1)))
    asked = upload(admin, csv(header, ("maya.lind@contosotrading.example", *"x" * (MOST_COLUMNS - 1))), url=CONTOSO)
    fields = Page(admin.get(asked["Location"])).form("column-0").fields
    assert admin.post(asked["Location"], fields).status_code == 303
    too_many = upload(admin, csv((*header, "one more"), ("a@contosotrading.example", *"x" * MOST_COLUMNS)))
    assert f"A file may have {MOST_COLUMNS} at most." in Page(too_many).words


def test_a_page_of_rows_in_which_all_is_wrong_can_be_saved(admin):
    header = ("first_name", "last_name", "display_name", "user_name", "domain", "usage_location", "licences")
    header += ("force_change", "immutable_id", "blocked", "enabled")
    wrong = ("a\x01", "b\x01", "c\x01", "d d", "e e", "ff", "gg", "hh", "i\x01", "jj", "kk")
    run = sent(admin, *[wrong] * 25, header=header)
    url = reverse("run-check", args=[run.key])
    page = page_of(admin, run, "?edit=26")
    cells = page.form("cell-2-user_name").fields
    assert "cell-26-user_name" in cells  # the one that was opened, though it is the last
    assert "cell-25-user_name" not in cells
    assert page.words.count("User name can have letters") == 25  # a row without cells says what is wrong
    assert admin.post(url, cells | {"cell-26-user_name": "maya.lind", "step": "save"}).status_code == 303
    assert run.rows.get(line=26).typed["user_name"] == "maya.lind"


def test_the_same_form_makes_one_run_and_another_persons_is_not_found(admin, signed_in):
    op_id = str(uuid.uuid4())
    for _ in range(2):
        upload(admin, csv(HEADER, ("A", "B", "a.b", "DE", "", "")), url=CONTOSO, op_id=op_id)
    run = OnboardingRun.objects.get()
    other = signed_in("writer")
    assert other.get(reverse("run-check", args=[run.key])).status_code == 404
    assert other.get(reverse("run-problems", args=[run.key])).status_code == 404
    assert upload(other, csv(HEADER, ("A", "B", "a.b", "DE", "", "")), op_id=op_id).status_code == 409


def test_a_form_that_is_sent_again_while_its_run_starts_in_another_tab_leads_to_the_run(admin, monkeypatch):
    fields = {"data": csv(HEADER, ("A", "B", "a.b", "DE", "", "")), "url": CONTOSO, "op_id": str(uuid.uuid4())}
    upload(admin, **fields)
    run = checked()

    def started(run, **how):
        OnboardingRun.objects.filter(pk=run.pk).update(state=OnboardingRun.State.RUNNING)
        return start_checking(run, **how)

    monkeypatch.setattr("users.onboarding.uploading.start_checking", started)
    answer = upload(admin, **fields)
    assert (answer.status_code, answer["Location"]) == (303, reverse("run-check", args=[run.key]))
    assert admin.get(answer["Location"])["Location"] == reverse("run", args=[run.key])
    run.refresh_from_db()
    assert (run.state, run.checking.open) == (OnboardingRun.State.RUNNING, False)


def test_problem_rows_come_as_a_file_that_can_be_sent_again(admin):
    run = sent(admin, ("Zoë", "Berg", "zoe.berg", "NL", "", ""), ("+Ann", "Lee", "ann lee", "DE", "", ""))
    text = b"".join(admin.get(reverse("run-problems", args=[run.key]))).decode("utf-8-sig")
    assert "zoe.berg" not in text
    assert "ann lee" in text
    assert '"\'+Ann"' in text
    assert "Exported 1 rows that need a change." in AuditEvent.objects.get(action="export run", kind="outcome").detail
    assert upload(admin, text.encode(), url=CONTOSO).status_code == 303


def test_the_template_has_every_column_and_its_examples_are_passed_over(admin):
    text = b"".join(admin.get(reverse("onboarding-template")))
    answer = upload(admin, text)
    assert answer.status_code == 422
    assert "There is no row but examples" in Page(answer).words


@pytest.mark.parametrize("size", [6_000_000, 52_000_000])
def test_a_body_that_is_too_large_is_refused_before_it_is_read(admin, size, monkeypatch):
    monkeypatch.setattr("users.onboarding.uploading._read", lambda *_: pytest.fail("it was read"))
    answer = admin.post(NEW, b"x" * size, content_type="text/csv")
    assert answer.status_code == 413
    assert "Nothing was taken" in Page(answer).words


def test_other_views_take_no_more_than_before(admin):
    assert admin.post("/theme/", {"theme": "x" * 300_000}).status_code == 413


def test_ten_files_an_hour_are_the_most(admin, settings):
    settings.ONBOARDING_FILES_AN_HOUR = 1
    assert upload(admin, csv(HEADER, ("A", "B", "a.b", "DE", "", "")), url=CONTOSO).status_code == 303
    assert upload(admin, csv(HEADER, ("A", "B", "a.b", "DE", "", "")), url=CONTOSO).status_code == 429


def test_a_file_that_waits_is_destroyed_after_half_an_hour(admin):
    upload(admin, csv(("Wer", "Wo"), ("Lee", "Rom")))
    file = WaitingFile.objects.get()
    assert b"Rom" not in bytes(file.sealed)
    WaitingFile.objects.update(created_at=clock.now() - timedelta(minutes=31))
    assert admin.get(reverse("onboarding-columns", args=[file.pk])).status_code == 404
    purge_secrets()
    assert not WaitingFile.objects.exists()


def test_a_walk_stays_ours_while_a_customer_answers_slowly():
    answered, held = threading.Event(), []

    def hold():
        held.append("held")
        answered.set()

    assert list(side_by_side([lambda: answered.wait(20)], hold, every=timedelta(seconds=0.01))) == [True]
    assert held


def test_a_check_that_no_worker_takes_says_so(admin, move_clock, monkeypatch):
    monkeypatch.setattr("users.tasks.check_rows.delay", lambda _pk: None)
    upload(admin, csv(HEADER, ("Ada", "Lind", "", "NL", "", "")), url=CONTOSO)
    url = reverse("run-check", args=[OnboardingRun.objects.get().key])
    assert "No worker" not in Page(admin.get(url)).words
    move_clock(91)
    assert "No worker has been at work on this check since" in Page(admin.get(url)).words
    assert "No worker" in Page(admin.get(reverse("runs"))).words
    keep_checks()  # by a worker that is back
    assert "No worker" not in Page(admin.get(url)).words
    held = OnboardingCheck.claim(OnboardingCheck.objects.get().pk)
    move_clock(91 + held.LEASE.total_seconds())
    assert "No worker" not in Page(admin.get(url)).words  # it may be at it still
    move_clock(200 + held.LEASE.total_seconds())
    assert "No worker" in Page(admin.get(url)).words


def test_who_may_not_sign_in_is_not_created_as_if_nobody_had_said_so(admin):
    header = ("First name", "User name", "accountEnabled")
    said = ("true", "ja", "oui", "no", "nein", "nee", "perhaps", "")
    run = sent(admin, *(("Ann", f"ann{line}", each) for line, each in enumerate(said)), header=header)
    told = problems(run)
    blocked = "A user who may not sign in cannot be created from here. Write yes, and block them later"
    assert [told[line] for line in range(2, 10)] == ["", "", "", blocked, blocked, blocked, ANYTHING, ""]
    run = sent(admin, ("Ann", "ann", "perhaps"), header=("First name", "User name", "Blocked"))
    assert problems(run)[2] == ANYTHING


ANYTHING = "“perhaps” is neither yes nor no"


def test_what_a_sentence_quotes_of_a_cell_is_short_however_long_the_cell_is(admin):
    header = [columns.FIELDS[field] for field in columns.FIELDS if field != "domain"]
    long = "Atlantis " * 6_000
    rows = [["" if place != column else long for place in range(len(header))] for column in range(len(header))]
    for row in rows:
        row[1] = row[1] or "Ann"
    many = "|".join(f"licence {number}" for number in range(3_000))
    rows.append([many if name == "Licences" else "Ann" if name == "First name" else "" for name in header])
    run = sent(admin, *rows, header=header)
    found = [problem["sentence"] for row in run.rows.all() for problem in [*row.problems, *row.notes]]
    assert len(found) >= 7
    assert max(map(len, found)) < 300
    of_licences = [problem for problem in run.rows.last().problems if problem["field"] == "licences"]
    assert len(of_licences) == 6  # five of them, and how many more
    assert len(admin.get(reverse("run-check", args=[run.key])).content) < 120_000
