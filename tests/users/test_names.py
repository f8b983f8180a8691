"""User names: what Microsoft allows, and what we propose."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partnerportal.sandbox import validation
from users import names


@pytest.mark.parametrize(
    ("first", "last", "proposal"),
    [
        ("Maya", "Lind", "maya.lind"),
        ("Jürgen", "Groß", "jurgen.gross"),
        ("Søren", "Ångström", "soren.angstrom"),
        ("Đorđe", "Łuczak", "dorde.luczak"),
        ("Þóra", "Æbelø", "thora.aebelo"),
        ("Seán", "O'Brien", "sean.obrien"),
        ("Anna-Maria", "von der Heide", "annamaria.vonderheide"),
        ("Ann", "", "ann"),
        ("", "Lind", "lind"),
        ("ليلى", "حدّاد", ""),
        ("ليلى", "Haddad", "haddad"),
        ("🎉", "!!!", ""),
        ("X" * 80, "Y", "x" * 64),
        ("X" * 63, "Y", "x" * 63),
    ],
)
def test_a_name_is_proposed_in_latin_letters(first, last, proposal):
    assert names.propose(first, last) == proposal


@pytest.mark.parametrize(
    ("pattern", "proposal"),
    [
        ("first.last", "maya.vandenberg"),
        ("first.main", "maya.berg"),
        ("f.last", "m.vandenberg"),
        ("flast", "mvandenberg"),
        ("firstl", "mayab"),
        ("firstlast", "mayavandenberg"),
        ("first", "maya"),
        ("last.first", "vandenberg.maya"),
        ("last", "vandenberg"),
    ],
)
def test_a_name_is_proposed_after_a_pattern(pattern, proposal):
    assert names.propose("Maya", "van den Berg", pattern) == proposal
    assert names.propose("Maya", "", pattern) == "maya"


def test_every_pattern_has_its_test():
    assert len(names.PATTERNS) == len(set(names.PATTERNS)) == 9


@pytest.mark.parametrize(
    ("last", "main"),
    [
        ("van den Berg", "Berg"),
        ("de la Cruz", "Cruz"),
        ("Von Trapp", "Trapp"),
        ("’t Hart", "Hart"),
        ("Le", "Le"),
        ("van der", "der"),
        ("Vance", "Vance"),
        ("d'Artagnan", "d'Artagnan"),
        ("García Márquez", "García Márquez"),
        ("", ""),
    ],
)
def test_particles_are_no_part_of_the_main_surname(last, main):
    assert names.without_particles(last) == main


@pytest.mark.parametrize("half", ["Иvan", "Ann 明", "Annа"])
def test_a_name_of_which_ascii_can_write_only_half_is_not_written_at_all(half):
    assert names.latin(half) == ""


@pytest.mark.parametrize("pattern", names.PATTERNS)
@given(st.text(max_size=90), st.text(max_size=90))
def test_every_pattern_makes_a_name_that_microsoft_takes_or_none(pattern, first, last):
    proposal = names.propose(first, last, pattern)
    assert not proposal or not names.local_part_problem(proposal)
    assert proposal.isascii()


def test_a_taken_name_with_particles_is_offered_without_them():
    found = names.free(names.others("Maya", "van den Berg", "maya.vandenberg"), set(), most=3)
    assert found == ["maya.vandenberg2", "maya.berg", "m.vandenberg"]


@pytest.mark.parametrize(
    ("local", "does"),
    [
        ("maya.lind", True),
        ("Maya.Lind", True),
        ("maya.lind2", True),
        ("maya.lind99", True),
        ("m.lind", False),
        ("maya.lind1", False),
        ("", False),
    ],
)
def test_a_pattern_fits_what_it_makes_and_that_with_a_number(local, does):
    assert names.fits(local, "Maya", "Lind", "first.last") is does


def test_any_user_name_fits_names_that_cannot_be_written():
    assert names.fits("somebody", "ليلى", "", "first.last")


@given(st.text(max_size=90), st.text(max_size=90))
def test_a_proposal_is_empty_or_a_name_that_microsoft_takes(first, last):
    proposal = names.propose(first, last)
    assert not proposal or not names.local_part_problem(proposal)


@given(st.text(alphabet="abcABCß-' é", max_size=70), st.text(alphabet="abcABCß-' é", max_size=70))
def test_every_further_proposal_is_a_name_that_microsoft_takes(first, last):
    taken = names.propose(first, last) or "someone"
    found = list(names.others(first, last, taken))
    assert found[0] != taken
    assert not [name for name in found if names.local_part_problem(name)]


def test_a_taken_name_gets_up_to_two_free_ones():
    found = names.free(names.others("Maya", "Lind", "maya.lind"), {"maya.lind", "maya.lind2", "mlind"})
    assert found == ["m.lind", "maya.lind3"]
    assert names.free(iter(["A", "b", "b", "c"]), {"a"}) == ["b", "c"]
    assert names.free(iter([]), set()) == []


def test_a_long_name_leaves_room_for_its_number():
    assert names.free(names.others("", "", "x" * 64), set(), most=1) == ["x" * 63 + "2"]


@pytest.mark.parametrize("good", ["ann", "a", "sean.o'brien", "A-b_c!d#e^f~g", "0", "x" * 64])
def test_what_microsoft_allows_is_allowed(good):
    assert names.local_part_problem(good) == ""


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("", "Enter a user name"),
        ("ann\uff20contoso.com", names.NOT_ALLOWED),  # a wide at sign
        ("\ufb01ona", names.NOT_ALLOWED),  # fi as one letter
        ("\u0430nn", names.NOT_ALLOWED),  # a Cyrillic a
        ("jürgen", names.NOT_ALLOWED),
        ("ann lind", names.NOT_ALLOWED),
        ("ann\n", names.NOT_ALLOWED),
        ("ann+x", names.NOT_ALLOWED),
        ("x" * 65, "A user name can have at most 64 characters before the @"),
        ("ann.", "A user name cannot have a dot just before the @"),
    ],
)
def test_what_microsoft_refuses_is_refused_as_typed(bad, why):
    assert names.local_part_problem(bad) == why


@given(st.text(max_size=70), st.sampled_from(["contoso.example", "x.onmicrosoft.example"]))
def test_we_allow_nothing_that_microsoft_would_not(local, domain):
    if names.local_part_problem(local):
        return
    validation.check_upn(f"{local}@{domain}", [domain], [])


@pytest.mark.parametrize("good", ["contoso.com", "a.b", "x-1.contoso.co.uk", "Contoso.Com", "a" * 44 + ".com"])
def test_a_domain_is_one(good):
    assert names.domain_problem(good) == ""


@pytest.mark.parametrize(
    "bad",
    [
        "contoso",
        "-a.com",
        "a-.com",
        ".com",
        "a..com",
        "a.com.",
        "a b.com",
        "a@b.com",
        "\u212aontoso.com",  # a Kelvin sign: its small letter is a plain k
        "contos\u043e.com",  # a Cyrillic o
        "contoso\uff0ecom",
        "a" * 45 + ".com",
    ],
)
def test_what_is_no_domain_is_refused_before_anything_is_made_of_it(bad):
    assert names.domain_problem(bad) == "Enter a domain such as contoso.com, 48 characters at most"


def test_no_domain_asks_for_one():
    assert names.domain_problem("") == "Choose a domain"
