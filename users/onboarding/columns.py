"""What the columns of a file mean: headers in five languages and Microsoft's own, and what of them is unclear.

A meaning is a field of a new user, or "" for a column that is not used. The more exact name wins: of "Usage location"
and "Country" the first is taken. Where two are equally good, or a header may mean two things, somebody is asked.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from customers import countries
from partnerportal import csv_out

from .sheet import MERGED, FileRefused, Sheet, letter, shortened

FIELDS = {
    "customer": "Customer",
    "first_name": "First name",
    "last_name": "Last name",
    "display_name": "Display name",
    "user_name": "User name",
    "domain": "Domain",
    "usage_location": "Usage location",
    "licences": "Licences",
    "force_change": "Must change password",
    "immutable_id": "Immutable ID",
    "blocked": "Block sign-in",
    "enabled": "Sign-in allowed",
}
NAMES = ("first_name", "last_name", "display_name", "user_name")  # one of them is needed

# Field -> names from the most exact to the least, each group separated by bars. The last group of a field marked "?"
# is a guess that somebody has to confirm.
_KNOWN: dict[str, tuple[str, ...]] = {
    "customer": (
        "customer|tenant id|customer id",
        (
            "tenant|customer name|customer domain|client|kunde|mandant|kundenname|kunden id|mandanten id|firma|cliente|"
            "klant|klantnaam|nom du client|locataire|inquilino|id de tenant"
        ),
        (
            "company|company name|organisation|organization|unternehmen|firmenname|entreprise|societe|empresa|compania|"
            "organizacion|bedrijf|bedrijfsnaam|organisatie"
        ),
    ),
    "first_name": (
        "first name|firstname|givenname",
        "given name|forename|vorname|prenom|nombre de pila|primer nombre|voornaam|roepnaam|rufname",
        "first|nombres",
    ),
    "last_name": (
        "last name|lastname|surname",
        "family name|nachname|familienname|zuname|nom de famille|apellido|apellidos|achternaam|familienaam",
        "last",
    ),
    "display_name": (
        "display name|displayname",
        (
            "full name|fullname|anzeigename|vollstandiger name|ganzer name|nom complet|nom d affichage|nom affiche|"
            "nombre completo|nombre para mostrar|nombre mostrado|weergavenaam|volledige naam"
        ),
    ),
    "user_name": (
        "user name|username|userprincipalname|upn",
        (
            "user principal name|login|logon name|login name|sign in name|benutzername|anmeldename|nom d utilisateur|"
            "identifiant|nombre de usuario|usuario|gebruikersnaam|aanmeldnaam|inlognaam|user|benutzer|utilisateur"
        ),
        (
            "?email|e mail|mail|email address|e mail address|e mail adresse|mailadresse|emailadresse|courriel|"
            "adresse e mail|adresse mail|correo|correo electronico|e mailadres|work email|business email|primary email"
        ),
    ),
    "domain": ("domain", "domane|domaine|dominio|domein|upn suffix|mail domain"),
    "usage_location": (
        "usage location|usagelocation",
        (
            "nutzungsstandort|verwendungsstandort|emplacement d utilisation|lieu d utilisation|ubicacion de uso|"
            "gebruikslocatie|verwendungsort"
        ),
        (
            "country|country code|land|landercode|landcode|pays|code pays|pais|codigo de pais|country or region|"
            "country/region|land/region"
        ),
    ),
    "licences": (
        "licences|licenses|licence|license",
        "lizenz|lizenzen|licencia|licencias|licentie|licenties|skus|sku|products|produkte",
    ),
    "force_change": (
        "force change|forcechange|forcechangepassword|forcechangepasswordnextsignin",
        (
            "must change password|force change password|change password at next sign in|kennwort andern|"
            "kennwort muss geandert werden|changer le mot de passe|cambiar contrasena|wachtwoord wijzigen"
        ),
    ),
    "immutable_id": ("immutable id|immutableid", "source anchor|sourceanchor|onpremisesimmutableid"),
    "blocked": (
        (
            "block sign in|blocked|gesperrt|anmeldung blockieren|bloquer la connexion|"
            "bloquear inicio de sesion|aanmelden blokkeren"
        ),
    ),
    "enabled": (
        "accountenabled|account enabled|sign in allowed|enabled",
        (
            "konto aktiviert|aktiviert|anmeldung erlaubt|compte active|connexion autorisee|cuenta habilitada|"
            "habilitado|account ingeschakeld|ingeschakeld"
        ),
    ),
}
# One word for a name, which is a whole one or the last of two; it depends on what stands beside it.
_ONE_NAME = {"name": ("vorname",), "nom": ("prenom",), "naam": ("voornaam", "roepnaam")}
_PASSWORD = re.compile(r"passw|kennwort|mot de passe|contrasena|wachtwoord|passphrase|\bpwd\b|\bmdp\b|\bclave\b")
_BRACKETS = re.compile(r"\[([A-Za-z.]{2,40})\]")
_NOISE = re.compile(r"\[[^\]]*\]|\((optional|required|yes/no|ja/nein)\)|\b(required|optional)\b|[*:]")
_LONGEST = 300  # characters of a header that are looked at; a search for brackets takes the square of that
# "Block sign in (Yes/No) [accountEnabled]" in Microsoft's own file: what stands before it says the opposite.
_BLOCKS = re.compile(r"block|gesperrt|bloqu|blokkeren")
_EXAMPLE = re.compile(r"(example|beispiel|exemple|ejemplo|voorbeeld)(\s*:.*)?", re.DOTALL)


@dataclass(frozen=True)
class Guess:
    """What a column seems to mean, and whether that is sure."""

    column: int
    header: str
    field: str
    sure: bool


@dataclass(frozen=True)
class Reading:
    """What all columns of a file mean. `ask`: somebody has to look before the rows can be taken."""

    guesses: tuple[Guess, ...]

    @property
    def ask(self) -> bool:
        return any(not guess.sure for guess in self.guesses) or not self.names_somebody

    @property
    def names_somebody(self) -> bool:
        """Whether there is a column from which a user can be named at all."""
        return any(guess.field in NAMES for guess in self.guesses)

    @property
    def meaning(self) -> dict[str, int]:
        """Field -> column."""
        return {guess.field: guess.column for guess in self.guesses if guess.field}

    @property
    def unused(self) -> list[str]:
        """Headers of columns that nothing is made of."""
        return [guess.header for guess in self.guesses if not guess.field]


@dataclass(frozen=True)
class Line:
    """A row of the file as a user to be: field -> what stands there, blanks around it trimmed."""

    number: int
    typed: Mapping[str, str]


def folded(header: str) -> str:
    """A header without case, accents, signs and what Microsoft adds; so it is compared and remembered."""
    text = _NOISE.sub(" ", countries.fold(header[:_LONGEST]))
    return " ".join(re.sub(r"[_\-–./'’`]+", " ", text).split())[:100]


def is_known(header: str) -> bool:
    """Whether a header is one of those that we know, for telling what separates the columns."""
    return bool(_meanings(header)) or folded(header) in _ONE_NAME or is_password(header)


def is_password(header: str) -> bool:
    """Whether a column is for passwords. "Must change password" is not."""
    bracket = _BRACKETS.search(header)
    if bracket and bracket[1].lower() == "passwordprofile":
        return True
    return bool(_PASSWORD.search(folded(header))) and not _meanings(header)


def read(sheet: Sheet, remembered: Mapping[str, str] | None = None) -> Reading:
    """What the columns mean; `remembered` (folded header -> field) goes before every guess.

    Raises `FileRefused` for a file with passwords.
    """
    for column, header in enumerate(sheet.columns):
        if is_password(header):
            raise FileRefused(
                f"Column {letter(column)}, “{shortened(header)}”, is for passwords. No file may hold any: it would lie "
                "about in mailboxes and folders. The portal makes one for each user and hands it over by a one-time "
                "link. Delete the column."
            )
    known = remembered or {}
    headers = [(column, header) for column, header in enumerate(sheet.columns) if header]
    told = {column: known[folded(header)] for column, header in headers if folded(header) in known}
    if len({field for field in told.values() if field}) < len([field for field in told.values() if field]):
        told = {}  # remembered from two files; here both columns stand side by side
    return Reading(tuple(_guesses(headers, told)))


def chosen(sheet: Sheet, fields: Sequence[str]) -> Reading:
    """The columns as somebody has said what they mean. Raises `FileRefused` when they cannot."""
    guesses = [
        Guess(column, header, field if field in FIELDS else "", sure=True)
        for (column, header), field in zip(
            ((column, header) for column, header in enumerate(sheet.columns) if header), fields, strict=False
        )
    ]
    twice = [field for field in FIELDS if sum(guess.field == field for guess in guesses) > 1]
    if twice:
        raise FileRefused(f"Two columns are to be the {FIELDS[twice[0]].lower()}. Choose one.")
    reading = Reading(tuple(guesses))
    if not reading.names_somebody:
        raise FileRefused("Say which column holds the names: first and last name, display name or user name.")
    return reading


def lines(sheet: Sheet, meaning: Mapping[str, int]) -> list[Line]:
    """The rows as users to be, without examples and empty ones. Raises `FileRefused` for cells that are no text."""
    marks = {0, meaning.get("customer", 0)}
    found: list[Line] = []
    for row in sheet.rows:
        if any(_EXAMPLE.fullmatch(countries.fold(row.cells[mark])) for mark in marks):
            continue
        for field, column in meaning.items():
            if column in row.odd:
                raise _not_text(sheet, column, row.number, field)
            if column in sheet.hidden and row.cells[column].strip():
                raise _not_seen(sheet, column, field)
        # "Download problem rows" is mended and sent again: -Maya stands in it as '-Maya.
        typed = {field: csv_out.as_it_was(row.cells[column].strip()) for field, column in meaning.items()}
        if any(typed.values()):
            found.append(Line(row.number, typed))
    if not found:
        raise FileRefused("There is no row but examples. Add a row for each user.")
    return found


def _not_text(sheet: Sheet, column: int, number: int, field: str) -> FileRefused:
    """Why a cell cannot be taken, and in how many others of its column that is so."""
    words = next(row.odd[column] for row in sheet.rows if row.number == number)
    others = sum(column in row.odd for row in sheet.rows) - 1
    also = f" So do {others:,} other cells of this column." if others > 1 else ""
    mend = "copy the column and paste it as values, or type the text"
    if words == MERGED:
        mend = "unmerge the cells, and type into each what belongs there"
    return FileRefused(
        f"Cell {letter(column)}{number} ({FIELDS[field].lower()}) holds {words}, not text.{also} "
        f"In the spreadsheet {mend}.",
        number,
    )


def _not_seen(sheet: Sheet, column: int, field: str) -> FileRefused:
    """Why a column that the spreadsheet hides is not taken for what somebody wants to be sent."""
    return FileRefused(
        f"The sheet hides column {letter(column)}, “{shortened(sheet.columns[column])}”, which would be the "
        f"{FIELDS[field].lower()}. Show the column and look at it, or delete it."
    )


def _guesses(headers: list[tuple[int, str]], told: Mapping[int, str]) -> Iterator[Guess]:
    """A guess for each column: the best name of each field wins."""
    ranks = {column: _ranked(header, [name for _, name in headers]) for column, header in headers}
    taken = {field for field in told.values() if field}
    best: dict[str, int] = {}
    for column, (field, rank) in ranks.items():
        if column not in told and field not in taken:
            best[field] = min(rank, best.get(field, rank))
    for column, header in headers:
        field, rank = ranks[column]
        if column in told:
            yield Guess(column, header, told[column], sure=True)
        elif not field or field in taken or rank > best[field]:
            yield Guess(column, header, "", sure=True)
        else:
            first = next(each for each, found in ranks.items() if found == (field, rank) and each not in told)
            equals = sum(found == (field, rank) for each, found in ranks.items() if each not in told)
            yield Guess(column, header, field if column == first else "", sure=equals == 1 and rank < _GUESSED)


_GUESSED = 5  # the rank of what is but a guess


def _ranked(header: str, beside: list[str]) -> tuple[str, int]:
    """(field, how exact its name is; 0 is best); ("", 0) for what we do not know."""
    name = folded(header)
    if name in _ONE_NAME and not _BRACKETS.search(header):
        return _of_one_name(name, [folded(other) for other in beside])
    if name == "nombre":
        has_surname = {"apellido", "apellidos"} & {folded(each) for each in beside}
        return ("first_name" if has_surname else "display_name"), 2
    return min(_meanings(header), key=lambda found: found[1], default=("", 0))


def _of_one_name(name: str, beside: list[str]) -> tuple[str, int]:
    """Beside "Vorname" the column "Name" is the last name; beside "First name" it may be; alone it is all of it."""
    fields = {min(_meanings(other), key=lambda found: found[1], default=("", 0))[0] for other in beside}
    if "last_name" in fields or "first_name" not in fields:
        return "display_name", 3
    return "last_name", 2 if set(_ONE_NAME[name]) & set(beside) else _GUESSED


def _meanings(header: str) -> list[tuple[str, int]]:
    """All that a header may mean: (field, rank)."""
    bracket = _BRACKETS.search(header)
    names = {bracket[1].lower()} if bracket else {folded(header)}
    if names == {"accountenabled"} and _BLOCKS.search(folded(header)):
        names = {"blocked"}
    found = []
    for field, groups in _KNOWN.items():
        for rank, group in enumerate(groups, start=1):
            if names & set(group.lstrip("?").split("|")):
                is_guess = group.startswith("?") and not bracket
                found.append((field, _GUESSED if is_guess else rank - 1 if bracket else rank))
    return found
