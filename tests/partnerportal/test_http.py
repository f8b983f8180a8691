"""How the pages that have a query read and write their addresses."""

from partnerportal.http import differing, typed, with_query


def test_what_an_address_says_is_cut_to_what_can_mean_anything():
    assert typed({"q": "  con\x00toso "}, "q") == "contoso"
    assert typed({"q": "x" * 5000}, "q") == "x" * 200
    assert typed({}, "q") == ""


def test_an_address_tells_what_is_not_as_usual_in_a_fixed_order():
    usual = {"q": "", "from_": "", "page": 1}
    wanted = {"q": "a&b é", "from_": "2026-11-01", "page": 1}
    assert with_query("/gdap/", differing(wanted, usual)) == "/gdap/?q=a%26b+%C3%A9&from=2026-11-01"
    assert with_query("/gdap/", differing(usual, usual)) == "/gdap/"
