"""Bytes: the HTTP/1.1 edge, server-sent events and one codec per vendor dialect, both directions.

Keeps: every JSON field name of every vendor; `Any` stops here.
Does not know: who is asking, what it costs, where it is sent.
Doors: `wire.dialects.codec(name)`, `wire.sse`, `wire.edge.server.Edge`.
"""
