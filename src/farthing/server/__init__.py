"""The server: one port, one face per vendor's HTTP dialect, and the control plane.

Keeps: keys from headers, answers and errors in the caller's dialect, the admin API with its OpenAPI
document, health, draining, TLS.
Does not know: HTTP's bytes (`wire.edge` does); how a call is routed, priced, counted or translated.
Door: `server.serve.serve` for a process, `server.app.App` for whoever brings exchanges.
"""
