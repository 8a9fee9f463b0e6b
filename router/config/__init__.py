"""Configuration: YAML documents with places, includes, overlays, linked to a project."""

from router.config.codes import CODES
from router.config.loading import Loaded, environments, load_project
from router.config.project import Project
from router.config.templates import TemplateMemo

__all__ = ["CODES", "Loaded", "Project", "TemplateMemo", "environments", "load_project"]
