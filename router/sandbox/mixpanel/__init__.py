"""Mixpanel: a project's raw log of events, what its reports show of it, and its profiles."""

from router.sandbox.mixpanel.server import MixpanelApi, MixpanelSettings

__all__ = ["MixpanelApi", "MixpanelSettings"]
