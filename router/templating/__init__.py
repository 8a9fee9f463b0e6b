"""Templates: texts, layouts and samples in, messages out. Pure: another room reads the files."""

from router.templating.added import FindFilter, mistake_in_filter
from router.templating.check import check_template
from router.templating.codes import CODES, RenderError
from router.templating.environment import Environments
from router.templating.expressions import Value, compile_expression, compile_value
from router.templating.files import TemplateFile
from router.templating.frame_files import Frame, Frames, load_frame
from router.templating.limits import Limits
from router.templating.load import load_template
from router.templating.locales import FoundLocale, Locales
from router.templating.model import Sample, Template
from router.templating.pieces import Piece
from router.templating.variables import TYPES, Variable
from router.templating.view import VIEW_NAMES, BrandValue, View

__all__ = [
    "CODES",
    "TYPES",
    "VIEW_NAMES",
    "BrandValue",
    "Environments",
    "FindFilter",
    "FoundLocale",
    "Frame",
    "Frames",
    "Limits",
    "Locales",
    "Piece",
    "RenderError",
    "Sample",
    "Template",
    "TemplateFile",
    "Value",
    "Variable",
    "View",
    "check_template",
    "compile_expression",
    "compile_value",
    "load_frame",
    "load_template",
    "mistake_in_filter",
]
