"""Everything that can go wrong when another service is asked for something.

UpstreamError
├── Unreachable       no answer: refused, reset, too slow, or never asked
├── Refused           4xx
│   ├── SignInAgain   401, MFA missing, claims challenge
│   ├── Forbidden     403
│   ├── NotFound      404
│   └── Conflict      the name is taken, or the thing has changed
├── Throttled         429, with retry_at
├── Broken            5xx and 408
└── Unintelligible    an answer, but not what the documentation promises

`str(error)` is a sentence that an operator may read. What each code means and who can help: docs/errors.md.
"""

from datetime import datetime

from partnerportal import clock


def quoted(words: str) -> str:
    """Somebody else's words within a sentence of ours, which ends with them: with the full stop that they may lack."""
    return f"“{words}”" if words.endswith((".", "!", "?", "…")) else f"“{words}”."


class UpstreamError(Exception):
    """One failed question to another service.

    `description` is the service's own sentence, cleaned (see payload.py): quote it, never trust it.
    `sent` is False only when the request surely never left this machine. `took` is in seconds.
    `claims` is the JSON of a claims challenge, ready for MSAL. `our_fault` marks a fault of our configuration
    that no operator can mend by signing in or by asking for a role.
    """

    def __init__(
        self,
        *,
        source: str,
        status: int | None = None,
        code: str = "",
        description: str = "",
        data: tuple[str, ...] = (),
        request_id: str = "",
        correlation_id: str = "",
        sent: bool = True,
        took: float = 0.0,
        claims: str = "",
        retryable: bool = False,
        our_fault: bool = False,
        retry_at: datetime | None = None,
        sentence: str = "",
    ) -> None:
        self.source = source
        self.status = status
        self.code = code
        self.description = description
        self.data = data
        self.request_id = request_id
        self.correlation_id = correlation_id
        self.sent = sent
        self.took = took
        self.claims = claims
        self.retryable = retryable
        self.our_fault = our_fault
        self.retry_at = retry_at
        sentence = sentence or self._sentence()
        super().__init__(sentence[:1].upper() + sentence[1:])

    @property
    def ambiguous(self) -> bool:
        """If this was a write: may it have happened all the same?"""
        return False

    def _sentence(self) -> str:
        return f"{self.source} did not do what we asked."


class Unreachable(UpstreamError):
    """No answer. Ambiguous as soon as a byte of the request may have left."""

    @property
    def ambiguous(self) -> bool:
        return self.sent

    def _sentence(self) -> str:
        if not self.sent:
            return f"{self.source} cannot be reached."
        seconds = max(1, round(self.took))
        return f"{self.source} did not answer in {seconds} {'second' if seconds == 1 else 'seconds'}."


class Refused(UpstreamError):
    """A sure no (4xx)."""

    def _sentence(self) -> str:
        if self.our_fault:
            number = (self.request_id or self.correlation_id)[:8] or "none"
            return f"We had a fault with {self.source}. Tell support this number: {number}"
        if self.description:
            return f"{self.source} refused: {quoted(self.description)}"
        return self._plain_sentence()

    def _plain_sentence(self) -> str:
        return f"{self.source} refused this{f' ({self.status})' if self.status else ''}."


class SignInAgain(Refused):
    """The operator has to sign in again; with `claims`, those must be met. Codes: 900421, AADSTS50076 and so on."""

    def _sentence(self) -> str:
        if self.code in MFA_CODES:
            return f"{self.source} asks you to sign in again with a second factor."
        return f"{self.source} asks you to sign in again."


class Forbidden(Refused):
    """The one who asks has not the right (403)."""

    def _plain_sentence(self) -> str:
        return f"{self.source} does not allow you to do this."


class NotFound(Refused):
    """There is no such thing there (404, 410)."""

    def _plain_sentence(self) -> str:
        return f"{self.source} did not find this."


class Conflict(Refused):
    """The name is taken, or somebody else was faster (409, 412, and 400 that says so)."""

    def _plain_sentence(self) -> str:
        return f"{self.source} refused this: something else has the same name, or it changed meanwhile."


class Throttled(UpstreamError):
    """Too many questions (429). Nothing was done; ask again at `retry_at`."""

    retry_at: datetime

    def __str__(self) -> str:
        """Made where it is read: the thread that asked does not know in which zone."""
        return self._sentence()

    def _sentence(self) -> str:
        return f"{self.source} asked us to slow down until {clock.told(self.retry_at, '%H:%M:%S %Z')}."


class Broken(UpstreamError):
    """A fault of the service itself (5xx, 408). A write may have happened."""

    @property
    def ambiguous(self) -> bool:
        return True

    def _sentence(self) -> str:
        return f"{self.source} has a fault of its own ({self.status})."


class Unintelligible(UpstreamError):
    """It answered, but not what its documentation promises. A write may have happened."""

    @property
    def ambiguous(self) -> bool:
        return True

    def _sentence(self) -> str:
        return f"{self.source} gave an answer that we cannot read."


# A second factor is missing: Partner Center (CONTRACT 1.3), Graph (4.5), Entra (50076, 50079: enrol first).
MFA_CODES = frozenset({"900421", "10001", "Unauthorized_MissingMFA", "AADSTS50076", "AADSTS50079"})

# Wrong audience, no token, app-only token where a person's is needed: we are configured wrongly (CONTRACT 1.2, 1.6).
OUR_FAULT_CODES = frozenset({"900420", "800001", "900329"})
