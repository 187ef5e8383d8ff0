"""What the records of an evaluation add up to: tables, plots, a verdict."""
