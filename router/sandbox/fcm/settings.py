"""How the FCM look-alike behaves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FcmSettings:
    """How the API behaves.

    Attributes:
        project_id: The one project.
        token_life_s: How long an access token works.
        is_enabled: False: the API is off in the project.
        per_minute: Calls that the project may make in a minute.
        says_when: Whether a refusal over quota says when to come again.
    """

    project_id: str = "router-sandbox"
    token_life_s: float = 3600.0
    is_enabled: bool = True
    per_minute: int = 600_000
    says_when: bool = True
