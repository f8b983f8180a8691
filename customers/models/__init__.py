"""What the portal keeps about customers."""

from .customers import SOON, Customer, CustomerQuerySet, Favourite, Label, ListAnchor, Snapshot, Visit, domains_of
from .gdap import (
    GdapAssignment,
    GdapChange,
    GdapGrant,
    GdapRead,
    GdapRelationship,
    GdapState,
    GdapSync,
    SecurityGroup,
)
from .matches import MatchDecision, MatchSuggestion, Reason
from .sources import (
    LEASE,
    NOBODY_YET,
    KnownStretch,
    Source,
    SourceRow,
    StagedRow,
    SyncRun,
    avepoint_row,
    key_of,
)
from .upstreams import GRAPH, LABELS, SourceName

__all__ = [
    "GRAPH",
    "LABELS",
    "LEASE",
    "NOBODY_YET",
    "SOON",
    "Customer",
    "CustomerQuerySet",
    "Favourite",
    "GdapAssignment",
    "GdapChange",
    "GdapGrant",
    "GdapRead",
    "GdapRelationship",
    "GdapState",
    "GdapSync",
    "KnownStretch",
    "Label",
    "ListAnchor",
    "MatchDecision",
    "MatchSuggestion",
    "Reason",
    "SecurityGroup",
    "Snapshot",
    "Source",
    "SourceName",
    "SourceRow",
    "StagedRow",
    "SyncRun",
    "Visit",
    "avepoint_row",
    "domains_of",
    "key_of",
]
