"""What the portal keeps of users: intended writes, passwords on their way, walks, templates, names to search, runs."""

from .runs import OnboardingRow, OnboardingRun
from .users import (
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
