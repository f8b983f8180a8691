"""What the portal keeps of users: intended writes, passwords on their way, walks, templates, names to search, runs."""

from .files import ColumnMeaning, OnboardingCheck, WaitingFile
from .runs import OnboardingRow, OnboardingRun
from .users import (
    HandoverKnock,
    HandoverLink,
    IndexedUser,
    KeptPage,
    Operation,
    SeenNames,
    SeenSku,
    UserIndex,
    UserTally,
    UserTemplate,
    UserWalk,
)

__all__ = [
    "ColumnMeaning",
    "HandoverKnock",
    "HandoverLink",
    "IndexedUser",
    "KeptPage",
    "OnboardingCheck",
    "OnboardingRow",
    "OnboardingRun",
    "Operation",
    "SeenNames",
    "SeenSku",
    "UserIndex",
    "UserTally",
    "UserTemplate",
    "UserWalk",
    "WaitingFile",
]
