"""Simulated regional deployments: quota, latency, filters, faults and an invoice of their own.

Keeps: scenarios, the engine that answers as a vendor would, the same behaviour in process (a Provider)
and behind real sockets, the menu of faults, and what each request would have cost.
Does not know: the gateway, its codecs' writers, its ledger or its price formula. The vendors' JSON and
the invoice are written here a second time on purpose: two readings of one document must agree.
Doors: `http.Simulator`, `provider.build`, `scenario.load`.
"""
