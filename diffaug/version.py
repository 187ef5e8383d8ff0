"""The one place that says which diffaug this is."""

__version__ = "0.1.0"
