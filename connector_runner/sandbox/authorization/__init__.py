"""The authorization server of a simulated system: OAuth 2.0 and SMART Backend Services, as strict as the standards."""

from .resource import granted_access
from .server import Authorization

__all__ = ["Authorization", "granted_access"]
