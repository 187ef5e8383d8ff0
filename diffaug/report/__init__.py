"""Views of an output for people: a contact sheet, and an HTML page."""

from diffaug.report.page import write_report
from diffaug.report.sheet import contact_sheet

__all__ = ["contact_sheet", "write_report"]
