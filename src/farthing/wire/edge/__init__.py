"""The HTTP/1.1 edge: connections in, one exchange per request out, every one of its costs bounded.

Keeps: the grammar of requests (strict: what two readers could cut differently is refused), the framing of
answers, flow control both ways, hang-ups, deadlines, draining.
Does not know: faces, settings, keys; what a request asks for.
Door: `wire.edge.server.Edge(handle, limits=…)`, whose handler is given a `wire.edge.exchange.Exchange`.
"""
