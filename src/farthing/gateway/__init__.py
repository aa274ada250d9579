"""The gateway: the one pipeline that every model call passes, and its door.

Keeps: the order of a call, which deployment is tried when, retries, breakers, the answer cache,
translation between dialects, what is charged.
Does not know: HTTP faces, flows, how a vendor is reached, how money is stored.
Door: `gateway.client.open_gateway` and `Gateway.open`.
"""
