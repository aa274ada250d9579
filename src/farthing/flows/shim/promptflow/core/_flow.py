"""`promptflow.core._flow`: private there; some flows import prompties from it."""

from farthing.flows.shim.late import late

__getattr__ = late(
    "promptflow.core._flow",
    {
        "AsyncFlow": "farthing.flows.client:AsyncFlow",
        "AsyncPrompty": "farthing.flows.prompty.prompty:AsyncPrompty",
        "Flow": "farthing.flows.client:Flow",
        "Prompty": "farthing.flows.prompty.prompty:Prompty",
    },
)
