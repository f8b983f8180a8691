"""What the portal keeps of users: intended writes, passwords on their way, walks, templates, names to search, runs."""

from .runs import OnboardingRow, OnboardingRun
from .users import (
    DeletedNames,
    HandoverKnock,
    HandoverLink,
    IndexedUser,
    KeptPage,
    Operation,
    UserIndex,
    UserTally,
    UserTemplate,
    UserWalk,
)

__all__ = [
    "DeletedNames",
    "HandoverKnock",
    "HandoverLink",
    "IndexedUser",
    "KeptPage",
    "OnboardingRow",
    "OnboardingRun",
    "Operation",
    "UserIndex",
    "UserTally",
    "UserTemplate",
    "UserWalk",
]
