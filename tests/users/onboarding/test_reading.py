"""A file becomes rows: encodings, separators, headers of five languages, and what is refused with its row."""

from html import escape

import pytest

from users.onboarding import columns, files
from users.onboarding.sheet import FileRefused

from .made import HEADER, MAIN, STARTERS, csv, parts_of, workbook, zipped

WHAT_THEY_ARE = [
    {"first_name": first, "last_name": last, "user_name": user, "usage_location": land}
    for first, last, user, land in STARTERS
]


def taken(data: bytes, name: str = "starters.csv", **remembered: str) -> list[dict[str, str]]:
    """The rows of a file that leaves nothing to ask."""
    sheet = files.read(data, name)
    reading = columns.read(sheet, remembered)
    assert not reading.ask, reading
    return [dict(line.typed) for line in columns.lines(sheet, reading.meaning)]


def refusal(data: bytes, name: str = "starters.csv") -> str:
    with pytest.raises(FileRefused) as refused:
        taken(data, name)
    return str(refused.value)


def meanings(*headers: str) -> dict[str, str]:
    """Header -> field, "?" behind what has to be asked."""
    sheet = files.read(csv(headers, ("x",) * len(headers)), "starters.csv")
    return {guess.header: guess.field + "?" * (not guess.sure) for guess in columns.read(sheet).guesses}


# --- Encodings and separators -------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_every_encoding_and_separator_gives_the_same_rows(encoding, separator):
    assert taken(csv(HEADER, *STARTERS, separator=separator, encoding=encoding)) == WHAT_THEY_ARE


def test_the_first_line_may_name_the_separator():
    assert taken(b"sep=;\r\n" + csv(HEADER, *STARTERS)) == WHAT_THEY_ARE


def test_quotation_marks_hold_separators_and_themselves():
    data = b'First name;Last name\n"Anna; Bea";"the ""Boss"""\n'
    assert taken(data) == [{"first_name": "Anna; Bea", "last_name": 'the "Boss"'}]


def test_blank_lines_and_rows_of_separators_are_no_users():
    assert taken(csv(HEADER, ("",), STARTERS[0], ("", "", "", "")) + b"\r\n\r\n") == WHAT_THEY_ARE[:1]


def test_a_workbook_gives_the_same_rows():
    assert taken(workbook(HEADER, *STARTERS), "starters.xlsx") == WHAT_THEY_ARE


def test_shared_texts_numbers_and_ticks_of_a_workbook_are_text():
    shared = '<c t="s"><v>1</v></c>'
    rows = (("First name", "User name", "Force change"), (shared, 4711, '<c t="b"><v>1</v></c>'))
    data = workbook(*rows, shared=("never named", "Zoë"))
    assert taken(data, "a.xlsx") == [{"first_name": "Zoë", "user_name": "4711", "force_change": "yes"}]


def test_the_first_sheet_is_the_first_that_is_not_hidden():
    sheet = files.read(workbook(HEADER, *STARTERS, hidden=True), "starters.xlsx")
    assert sheet.told == "Excel workbook, sheet “Starters”"


def test_rows_are_numbered_as_the_spreadsheet_does():
    sheet = files.read(csv(HEADER, ("",), STARTERS[0]), "a.csv")
    assert [line.number for line in columns.lines(sheet, columns.read(sheet).meaning)] == [3]


# --- Headers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        ("First name", "Last name", "Display name", "User name", "Usage location", "Customer"),
        ("Vorname", "Nachname", "Anzeigename", "Benutzername", "Nutzungsstandort", "Kunde"),
        ("Prénom", "Nom de famille", "Nom d’affichage", "Nom d'utilisateur", "Lieu d’utilisation", "Client"),
        ("Nombre de pila", "Apellidos", "Nombre completo", "Nombre de usuario", "Ubicación de uso", "Cliente"),
        ("Voornaam", "Achternaam", "Weergavenaam", "Gebruikersnaam", "Gebruikslocatie", "Klant"),
        ("GIVEN_NAME", "surname", "displayName", "UPN", "usageLocation", "Tenant ID"),
    ],
)
def test_headers_are_known_in_five_languages(headers):
    fields = ("first_name", "last_name", "display_name", "user_name", "usage_location", "customer")
    assert meanings(*headers) == dict(zip(headers, fields, strict=True))


def test_microsofts_own_bulk_file_is_read_without_its_version_and_example_rows():
    header = (
        "Name [displayName] Required",
        "User name [userPrincipalName] Required",
        "Block sign in (Yes/No) [accountEnabled] Required",
        "First name [givenName]",
        "Last name [surname]",
        "Department [department]",
        "Usage location [usageLocation]",
        "Country or region [country]",
    )
    rows = (
        ("Example: Chris Green", "chris@contoso.com", "No", "Chris", "Green", "Sales", "", ""),
        ("Zoë Lind", "zoe@contoso.example", "No", "Zoë", "Lind", "Sales", "SE", "Sweden"),
    )
    assert taken(b"version:v1.0\r\n" + csv(header, *rows, separator=",")) == [
        {
            "display_name": "Zoë Lind",
            "user_name": "zoe@contoso.example",
            "blocked": "No",
            "first_name": "Zoë",
            "last_name": "Lind",
            "usage_location": "SE",
        }
    ]


def test_a_column_of_one_name_means_what_stands_beside_it_leaves():
    assert meanings("Vorname", "Name") == {"Vorname": "first_name", "Name": "last_name"}
    assert meanings("First name", "Last name", "Name")["Name"] == "display_name"
    assert meanings("First name", "Name") == {"First name": "first_name", "Name": "last_name?"}
    assert meanings("Nombre", "Apellidos") == {"Nombre": "first_name", "Apellidos": "last_name"}


def test_an_e_mail_address_is_only_guessed_to_be_the_user_name():
    assert meanings("Display name", "E-Mail") == {"Display name": "display_name", "E-Mail": "user_name?"}
    assert meanings("User name", "E-Mail") == {"User name": "user_name", "E-Mail": ""}


def test_two_columns_with_equal_names_for_one_field_are_asked_about():
    assert meanings("Vorname", "Given name", "Upn") == {"Vorname": "first_name?", "Given name": "?", "Upn": "user_name"}


def test_what_somebody_said_before_goes_before_every_guess():
    data = csv(("Display name", "E-Mail", "Team"), ("Zoë", "zoe@contoso.example", "Red"))
    sheet = files.read(data, "a.csv")
    assert columns.read(sheet).ask
    assert columns.read(sheet, {"e mail": "user_name"}).meaning == {"display_name": 0, "user_name": 1}
    assert columns.read(sheet, {"e mail": ""}).unused == ["E-Mail", "Team"]


def test_a_file_from_which_nobody_can_be_named_is_asked_about():
    sheet = files.read(csv(("Wer", "Wo"), ("Zoë", "Rom")), "a.csv")
    assert columns.read(sheet).ask


@pytest.mark.parametrize("mark", ["example", "Example: Anna", "BEISPIEL", "voorbeeld"])
def test_example_rows_are_passed_over(mark):
    data = csv(("User name", "Customer"), ("a.b", mark), ("c.d", "contoso.example"))
    assert taken(data) == [{"user_name": "c.d", "customer": "contoso.example"}]


# --- What is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'User name,Country\na.b,"DE\nc.d,"FR"\n', "Row 2: A quotation mark is opened"),
        (b"User name,Country\na.b,DE\nc.d\n", "Row 3: This row has 1 cell, and the header has 2."),
        (b"User name,Country\na.b,DE,x\n", "Row 2: This row has 3 cells"),
        (b"User name,User Name\na.b,c.d\n", "Row 1: Two columns are named “User Name”: A and B."),
        (b"User name,Country\na.b,D\x00E\n", "Row 2: There is a NUL"),
        (b"User name,Country\na.b\r,DE\n", "Row 2: There is a carriage return without a line feed"),
        (b"User name,\na.b,DE\n", "Row 2: There is “DE” in column B, which has no header."),
        (b"User name\n" + b"a" * 70_000 + b"\n", "Row 2: This row is longer than 64 kB."),
        (b"User name\n" + b"a\n" * 5_001, "Row 5,002: A file may have 5,000 rows at most"),
        (b"User name\n" + b"a.b\n" * 1_400_000, "The file is 5.34 MB. It may have 5 MB at most."),
        (b"User name\na\x81b\xe9\n", "Row 2: There is a character that Windows-1252 does not have."),
        ("User name\nä\n".encode() + b"\xe4\n", "Row 3: One part of the file is UTF-8 and another is not."),
        (b"User name\n=1+1\n", "Row 2: Cell A2 (user name) holds a formula, not text."),
        (b"User name\n#NV\n", "Row 2: Cell A2 (user name) holds an error of the spreadsheet, not text."),
        (b"\n\n", "The file is empty."),
        (b"User name,Country\n", "Row 1: There is a header row and nothing below it."),
        (b"User name,Customer\na.b,example\n", "There is no row but examples."),
        (b"%PDF-1.7", "The file must be a CSV with a header row. This one starts with “%PDF-”: it looks like a PDF."),
    ],
)
def test_a_file_is_refused_whole_with_the_row_and_the_reason(data, says):
    assert refusal(data).startswith(says)


@pytest.mark.parametrize(
    "header", ["Password", "Initial password [passwordProfile] Required", "Kennwort", "Wachtwoord"]
)
def test_a_column_of_passwords_is_refused_with_the_reason(header):
    said = refusal(csv(("User name", header), ("a.b", "Secret-1")))
    assert "is for passwords" in said
    assert "one-time link" in said
    assert "Secret-1" not in said


def test_must_change_password_is_no_column_of_passwords():
    assert meanings("User name", "Must change password")["Must change password"] == "force_change"


def test_a_workbook_or_an_archive_under_the_name_of_a_csv_is_refused():
    says = "The file must be a CSV with a header row. This one starts with “PK”: it looks like an "
    assert refusal(workbook(HEADER, *STARTERS)) == f"{says}Excel workbook. Save it as CSV UTF-8"
    assert refusal(zipped({"a.csv": csv(HEADER)})) == f"{says}archive. Save it as CSV UTF-8"
    assert refusal(zipped({"a.csv": csv(HEADER)}), "a.xlsx") == f"{says}archive. Save it as CSV UTF-8"


def test_a_text_under_the_name_of_a_workbook_is_refused():
    assert "is no workbook" in refusal(csv(HEADER, *STARTERS), "starters.xlsx")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("<c><f>A1</f><v>7</v></c>", "a formula"),
        ('<c t="str"><f>A1</f><v>Zoë</v></c>', "a formula"),
        ('<c t="e"><v>#N/A</v></c>', "an error of the spreadsheet"),
        ('<c s="1"><v>45000</v></c>', "a date"),
        ('<c s="2"><v>45000</v></c>', "a date"),
        ('<c t="d"><v>2026-01-01</v></c>', "a date"),
    ],
)
def test_a_cell_of_a_workbook_that_is_no_text_is_told_in_words(value, words):
    data = workbook(("User name", "Note"), ("a.b", "x"), (value, "x"))
    assert refusal(data, "a.xlsx").startswith(f"Row 3: Cell A3 (user name) holds {words}, not text.")


def test_what_is_no_text_in_a_column_that_nothing_is_made_of_is_no_matter():
    data = workbook(("User name", "Begins"), ("a.b", '<c s="1"><v>45000</v></c>'))
    assert taken(data, "a.xlsx") == [{"user_name": "a.b"}]


def test_a_number_with_decimals_is_no_date():
    assert taken(workbook(("User name",), ('<c s="3"><v>7</v></c>',)), "a.xlsx") == [{"user_name": "7"}]


def test_a_cell_right_of_the_header_is_refused_with_its_column():
    data = workbook(("User name",), ("a.b", "stray"))
    assert refusal(data, "a.xlsx") == "Row 2: There is “stray” in column B, which has no header."


# --- What a spreadsheet shows otherwise than it is ------------------------------------------------------------


def formatted(shape, *values):
    """A workbook whose last column holds numbers in a format."""
    parts = parts_of(("First name", "User name"), *(("Ann", f'<c s="1"><v>{value}</v></c>') for value in values))
    parts["xl/styles.xml"] = (
        f'<styleSheet xmlns="{MAIN}"><numFmts><numFmt numFmtId="165" formatCode="{escape(shape)}"/></numFmts>'
        '<cellXfs><xf numFmtId="0"/><xf numFmtId="165"/></cellXfs></styleSheet>'
    )
    return zipped({**parts})


@pytest.mark.parametrize(
    ("shape", "value", "shown"),
    [
        ("00000", 123, "00123"),
        ("00000;-00000", 123, "00123"),
        ("[$-407]00000", 123, "00123"),
        ("00000", 1234567, "1234567"),
        ("00000", 0, "00000"),
        (r"000\-00\-0000", 12345678, "012-34-5678"),
        (r"00\-00", 12345, "123-45"),
        ('"P"0000', 7, "P0007"),
        ('"00;"0000', 7, "00;0007"),
        ("0", 7, "7"),
        ("#,##0.00", 1234, "1234"),
        ("00000", 12.5, "12.5"),
        ("00000", -7, "-7"),
    ],
)
def test_a_number_keeps_the_zeros_and_signs_with_which_the_spreadsheet_shows_it(shape, value, shown):
    assert [row["user_name"] for row in taken(formatted(shape, value), "staff.xlsx")] == [shown]


def with_sheet(change, *rows):
    """A workbook whose sheet was changed as text."""
    parts = parts_of(("First name", "User name", "Shoe size"), *rows)
    parts["xl/worksheets/sheet1.xml"] = change(parts["xl/worksheets/sheet1.xml"])
    return zipped({**parts})


@pytest.mark.parametrize("how", ['hidden="1"', 'hidden="true"', 'ht="0"'])
def test_rows_that_a_sheet_hides_are_named_and_nothing_of_the_file_is_taken(how):
    def hide(text):
        return text.replace('<row r="3"', f'<row r="3" {how}').replace('<row r="5"', f'<row r="5" {how}')

    people = (("Ann", "ann", "7"), ("Bea", "bea", ""), ("Cy", "cy", ""), ("", "", ""))
    said = refusal(with_sheet(hide, *people[:3]), "staff.xlsx")
    assert said.startswith("The sheet hides 1 row with content: 3. Clear the filter")
    said = refusal(with_sheet(hide, *people[:3], *people[:3]), "staff.xlsx")
    assert said.startswith("The sheet hides 2 rows with content: 3, 5. ")
    assert len(taken(with_sheet(hide, people[0], people[3], people[2]), "staff.xlsx")) == 2  # an empty one hides nobody


def test_a_hidden_column_is_refused_where_a_user_would_be_made_of_it_and_passed_over_elsewhere():
    def hide(number):
        return lambda text: text.replace(
            "<sheetData>", f'<cols><col min="{number}" max="{number}" hidden="1"/></cols><sheetData>'
        )

    said = refusal(with_sheet(hide(2), ("Ann", "ann", "7")), "staff.xlsx")
    assert said.startswith("The sheet hides column B, “User name”, which would be the user name.")
    assert len(taken(with_sheet(hide(3), ("Ann", "ann", "7")), "staff.xlsx")) == 1
    assert len(taken(with_sheet(hide(2), ("Ann", "", "7")), "staff.xlsx")) == 1


ESCAPES = [
    ("Maya_x000D_", "Maya"),
    ("_x000d__x000a_Maya_x000D_\n", "Maya"),
    ("_x005F_x000D_", "_x000D_"),
    ("M_x0061_ya_x20_", "Maya_x20_"),
    ("_xD83D__xDE00_", "😀"),
    ("_x000D_", ""),
]


@pytest.mark.parametrize(("written", "meant"), ESCAPES)
def test_escapes_of_a_workbook_are_the_characters_that_they_stand_for(written, meant):
    inline = workbook(("User name", "First name"), ("ann", written))
    shared = workbook(("User name", "First name"), ("ann", '<c t="s"><v>0</v></c>'), shared=(written,))
    assert taken(inline, "a.xlsx") == taken(shared, "a.xlsx") == [{"user_name": "ann", "first_name": meant}]


@pytest.mark.parametrize("written", ["Ma_x0000_ya", "Ma_xD83D_ya"])
def test_an_escape_of_no_character_is_refused(written):
    said = refusal(workbook(("User name",), (written,)), "a.xlsx")
    assert said == "A cell holds an escape, such as _x0000_, that stands for no character. Type its text anew."


def merged(*places):
    cells = "".join(f'<mergeCell ref="{place}"/>' for place in places)
    return lambda text: text.replace("</sheetData>", f"</sheetData><autoFilter/><mergeCells>{cells}</mergeCells>")


PEOPLE = (("Ann", "ann", "7"), ("Bea", "", ""), ("Cy", "", ""), ("Di", "di", ""))


def test_a_cell_that_shows_what_another_one_holds_is_not_taken_for_an_empty_one():
    said = refusal(with_sheet(merged("B3:B4"), *PEOPLE), "staff.xlsx")
    assert said == (
        "Row 4: Cell B4 (user name) holds part of a merged cell, not text. "
        "In the spreadsheet unmerge the cells, and type into each what belongs there."
    )
    said = refusal(with_sheet(merged("C2:C1048576", "B2:B1048576"), *PEOPLE), "staff.xlsx")
    assert "Cell B3 (user name) holds part of a merged cell, not text. So do 2 other cells of this column." in said
    assert "Cell B5 (user name)" in refusal(with_sheet(merged("A5:C5"), *PEOPLE), "staff.xlsx")


def test_merged_cells_without_end_are_refused_before_they_are_all_counted():
    said = refusal(with_sheet(merged(*["A1:GR5"] * 500), *PEOPLE), "staff.xlsx")
    assert said == "More than 400,000 cells of the sheet are merged. Unmerge them."


@pytest.mark.parametrize("places", [("C2:C5",), ("A8:C9",), ("C2:E2", "C1:F1"), ("A2",), ("XFD1:XFD9",)])
def test_what_is_merged_where_no_user_is_made_of_it_is_no_matter(places):
    assert len(taken(with_sheet(merged(*places), *PEOPLE), "staff.xlsx")) == 4


def test_account_enabled_is_understood_by_itself_and_as_microsoft_means_it_in_its_own_file():
    assert meanings("User name", "accountEnabled") == {"User name": "user_name", "accountEnabled": "enabled"}
    assert meanings("User name", "Account enabled")["Account enabled"] == "enabled"
    assert (
        meanings("User name", "Block sign in (Yes/No) [accountEnabled]")["Block sign in (Yes/No) [accountEnabled]"]
        == "blocked"
    )


def test_a_hidden_column_that_begins_far_before_the_first_costs_nothing():
    parts = parts_of(HEADER, *STARTERS)
    [sheet] = [name for name in parts if name.startswith("xl/worksheets/")]
    columns = '<cols><col min="-999999999999" max="0" hidden="1"/></cols><sheetData>'
    parts[sheet] = parts[sheet].replace("<sheetData>", columns)
    plain = files.read(workbook(HEADER, *STARTERS), "starters.xlsx")
    assert files.read(zipped(parts), "starters.xlsx").rows == plain.rows


def test_a_format_longer_than_a_spreadsheet_has_them_makes_no_cell_as_long():
    assert taken(formatted("0" * 300, 7), "a.xlsx")[0]["user_name"] == "7"
    assert taken(formatted("0" * 8, 7), "a.xlsx")[0]["user_name"] == "00000007"
