"""What people look at: a sheet of pictures, and a page."""

from diffaug.report.page import write_report
from diffaug.report.sheet import contact_sheet

__all__ = ["contact_sheet", "write_report"]
