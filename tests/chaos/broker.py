"""The broker hangs, is cut off, or restarts."""

from __future__ import annotations

from tests.chaos.proxy import proxy
from tests.chaos.scenario import ANY, KEEPS, Scenario
from tests.chaos.trial import Report, Site, trial
