"""`promptflow.contracts`: the types of values."""

from farthing.flows.shim.late import late

__getattr__ = late("promptflow.contracts", known={"multimedia": None, "types": None})
