"""Checking an OUTPUT against its manifest: verify, replay and clean."""
