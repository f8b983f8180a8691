"""The tokens of a sign-in, and the clients that are built with them.

A grant is a `TokenCache` row: MSAL's cache of one sign-in, sealed. Building a client may ask Entra and write the
row; the client itself touches no database, so threads may share it.
"""

import json
import logging
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.views.decorators.debug import sensitive_variables

from partnerportal import clock, identity, vault
from partnerportal.models import Operator, TokenCache
from partnerportal.upstream import tokens
from partnerportal.upstream.errors import SignInAgain
from partnerportal.upstream.graph import Graph
from partnerportal.upstream.http import Secret
from partnerportal.upstream.partner_center import PartnerCenter

logger = logging.getLogger(__name__)

PURPOSE = "tokens"
JOB_LASTS = timedelta(hours=8)


@sensitive_variables("state")
def save_new(operator: Operator, state: str) -> TokenCache:
    """Keep the tokens of somebody who has just signed in."""
    grant = TokenCache(operator=operator)
    grant.sealed = vault.seal(PURPOSE, _place(grant), state)
    grant.save(force_insert=True)
    return grant


def save_for_job(job: uuid.UUID, grant: TokenCache, *, goes_on: bool = False) -> TokenCache:
    """A copy of a sign-in's tokens that opens for this job alone. It ends after eight hours, or when the sign-in does.

    Without `goes_on` it is destroyed with the sign-in. Raises `VaultError` where the tokens cannot be opened.
    """
    ends_at = min(clock.now() + JOB_LASTS, grant.created_at + settings.SESSION_ABSOLUTE)
    copy = TokenCache(operator=grant.operator, job=job, goes_on=goes_on, ends_at=ends_at)
    copy.belongs_to = None if goes_on else grant
    copy.sealed = vault.seal(PURPOSE, _place(copy), vault.open(PURPOSE, _place(grant), bytes(grant.sealed)))
    copy.save(force_insert=True)
    return copy


def _place(grant: TokenCache) -> str:
    """Where the tokens open: in this row, and those of a job for that job only."""
    return f"{grant.pk} {grant.job}" if grant.job else str(grant.pk)


def partner_center(grant: TokenCache) -> PartnerCenter:
    """Partner Center, asked in the name of the grant's operator. Raises an `UpstreamError`."""
    return PartnerCenter(partner_center_token(grant))


def graph(grant: TokenCache) -> Graph:
    """Microsoft Graph, asked in the name of the grant's operator. Raises an `UpstreamError`."""
    return Graph(graph_token(grant))


def partner_center_token(grant: TokenCache) -> Secret:
    """An access token for Partner Center and nothing else."""
    return _silent(grant, tokens.PARTNER_CENTER_SCOPES)


def graph_token(grant: TokenCache) -> Secret:
    """An access token for Microsoft Graph and nothing else."""
    return _silent(grant, tokens.GRAPH_SCOPES)


def ask_who(grant: TokenCache) -> identity.Claims:
    """What Entra says of the grant's operator now: a fresh ID token, checked like the first one."""
    _silent(grant, tokens.GRAPH_SCOPES, force_refresh=True)
    claims = identity.verify(_id_token(_tokens(grant)), nonce=None)
    if (claims.tid, claims.oid) != (str(grant.operator.tid), str(grant.operator.oid)):
        raise identity.NotGenuine("somebody else")
    return claims


_open: ContextVar[dict[tuple[Any, ...], Any] | None] = ContextVar("open_grants", default=None)


@contextmanager
def kept_open() -> Iterator[None]:
    """Tokens that are opened inside stay open until its end, for seconds: rows of one run need the same ones.

    They are found by what is sealed, so by the fence: tokens that were renewed or destroyed meanwhile are others.
    """
    token = _open.set({})
    try:
        yield
    finally:
        _open.reset(token)


def _silent(grant: TokenCache, scopes: Sequence[str], *, force_refresh: bool = False) -> Secret:
    opened = _open.get()
    which = (grant.pk, grant.fence, bytes(grant.sealed), *scopes)
    if opened is not None and which in opened and not force_refresh:
        return opened[which]  # type: ignore[no-any-return]
    client = _tokens(grant)
    try:
        token = client.silent(scopes, force_refresh=force_refresh)
    finally:
        if client.changed:
            _keep(grant, client.state)
    if opened is not None:
        opened[which] = token
    return token


def _tokens(grant: TokenCache) -> tokens.TokenClient:
    """The grant's tokens, opened once in the life of this object."""
    if grant.tokens is None:
        try:
            state = vault.open(PURPOSE, _place(grant), bytes(grant.sealed))
        except vault.VaultError:
            logger.exception("the tokens of grant %s cannot be opened", grant.pk)
            raise SignInAgain(source=tokens.SOURCE, code="sealed", sent=False) from None
        grant.tokens = tokens.TokenClient(state, oid=str(grant.operator.oid))
    return grant.tokens


@sensitive_variables("state")
def _keep(grant: TokenCache, state: str) -> None:
    """Seal the tokens anew. Who lost the race leaves the other's tokens alone: they are as new as ours."""
    sealed = vault.seal(PURPOSE, _place(grant), state)
    won = TokenCache.objects.filter(pk=grant.pk, fence=grant.fence).update(
        sealed=sealed, fence=grant.fence + 1, updated_at=clock.now()
    )
    if won:
        grant.sealed, grant.fence = sealed, grant.fence + 1


@sensitive_variables()
def _id_token(client: tokens.TokenClient) -> str:
    """The newest ID token among the tokens. MSAL keeps one an account and gives it to nobody."""
    kept: dict[str, Any] = json.loads(client.state).get("IdToken", {})
    return next((str(entry["secret"]) for entry in kept.values()), "")
