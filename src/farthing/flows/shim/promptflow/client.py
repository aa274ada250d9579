"""`promptflow.client`: the client, and flows loaded as functions."""

from farthing.flows.shim.late import late

__getattr__ = late(
    "promptflow.client",
    {
        "PFClient": "farthing.flows.client:PFClient",
        "load_flow": "farthing.flows.client:load_flow",
        "load_run": "farthing.flows.client:load_run",
    },
)
