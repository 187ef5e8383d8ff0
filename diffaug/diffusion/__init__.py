"""The mathematics: schedules, denoisers, samplers, noise, and the lanes that run them.

Nothing here knows of recipes, shards or outputs.
"""
