"""Views of an output for people: a contact sheet, of texts as text, and an HTML page."""

from diffaug.report.page import write_report
from diffaug.report.sheet import contact_sheet
from diffaug.report.sheet_of_texts import text_sheet

__all__ = ["contact_sheet", "text_sheet", "write_report"]
