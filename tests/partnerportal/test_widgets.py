"""Our select says what Django's says, only faster."""

from typing import Any

import pytest
from django import forms
from hypothesis import given
from hypothesis import strategies as st

from partnerportal.widgets import Select

PLAIN = [("", "Choose"), ("GB", "United Kingdom"), ("NL", "Netherlands")]
GROUPED = [("", "Choose"), ("Most used", [("NL", "Netherlands")]), ("All", [("GB", "United Kingdom"), ("NL", "Again")])]


def both(choices: Any, value: Any, **attrs: Any) -> tuple[str, str]:
    """As Django writes it, and as we do."""
    of_django, ours = (
        widget(attrs=attrs, choices=choices).render("place", value, {"id": "id_place"})
        for widget in (forms.Select, Select)
    )
    return of_django, ours


@pytest.mark.parametrize("value", [None, "", "GB", "NL", "ZZ", 7])
@pytest.mark.parametrize("choices", [[], PLAIN, GROUPED, [("", [("7", "in a group without a name")])]])
def test_a_select_is_to_the_letter_djangos(choices, value):
    of_django, ours = both(choices, value)
    assert ours == of_django
    assert ours.count(" selected") <= 1


def test_attributes_that_are_on_off_or_hostile_are_written_as_django_does():
    attrs = {"required": True, "disabled": False, "size": 3, "data-x": '"><script>', "aria-label": "Rock & roll"}
    of_django, ours = both(PLAIN, "GB", **attrs)
    assert ours == of_django
    assert ' required size="3" data-x="&quot;&gt;&lt;script&gt;" aria-label="Rock &amp; roll" id="id_place"' in ours


def test_a_number_is_written_as_django_writes_it():
    of_django, ours = both([(1234567, 1234567), (1.5, "x")], 1234567)
    assert ours == of_django


@given(
    st.lists(st.tuples(st.text(), st.text() | st.lists(st.tuples(st.text(), st.text())))),
    st.none() | st.text(),
    st.dictionaries(st.from_regex(r"[a-z-]{1,9}", fullmatch=True), st.text() | st.booleans()),
)
def test_whatever_stands_in_the_choices_is_escaped_as_django_does(choices, value, attrs):
    of_django, ours = both(choices, value, **attrs)
    assert ours == of_django
