"""The client's half of HTTP/1.1: pooled connections to one origin, and one exchange at a time on each.

Keeps: addresses and their refresh, dialling (several addresses, TLS, proxies), the connection's protocol,
the pool, the bounds on what an answer may be.
Does not know: vendors, settings, keys, what the bytes mean, and what the caller's errors are called.
Doors: `request.RequestHead`, `pool.Pool`, `connection.Connection`, `errors`.
"""
