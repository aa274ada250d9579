"""The server: one port, one face per vendor's HTTP dialect, and the control plane.

Keeps: reading requests (bounded), keys from headers, answers and errors in the caller's dialect, the admin
API with its OpenAPI document, health, draining, TLS.
Does not know: how a call is routed, priced, counted or translated.
Door: `server.serve.serve` for a process, `server.app.App` for whoever brings an ASGI server.
"""
