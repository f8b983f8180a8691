"""Every page of the portal and every state it can be in: how a browser gets there."""

from . import customers, desk, onboarding, users
from .stage import STATES, Stage

__all__ = ["STATES", "Stage", "customers", "desk", "onboarding", "users"]
