"""Flows that are Python: `@farthing.flow` and `@farthing.node`, and graphs written out as such a module."""
