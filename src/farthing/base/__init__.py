"""The ground floor: settings, registry, clock, token counts, storage, telemetry.

Keeps: everything that touches the machine (files, time, randomness, database) and nothing that knows
what a model is.
Does not know: models' prices, HTTP, vendors.
Doors: `base.config`, `base.registry`, `base.clock`, `base.tokens`, `base.storage`, `base.telemetry`.
"""
