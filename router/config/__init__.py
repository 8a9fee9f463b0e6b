"""Configuration: YAML documents with places, includes, overlays, linked to a project."""

from router.config.codes import CODES
from router.config.loading import Loaded, environments, load_project
from router.config.project import Project

__all__ = ["CODES", "Loaded", "Project", "environments", "load_project"]
