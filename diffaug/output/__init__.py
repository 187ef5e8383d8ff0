"""What an OUTPUT holds: run.json, the manifest parts and what they add up to.

Nothing here loads torch or a model.
"""
