"""The trainings of an evaluation, and the record that each leaves."""
