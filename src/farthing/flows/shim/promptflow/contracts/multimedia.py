"""`promptflow.contracts.multimedia`: images."""

from farthing.flows.prompts.images import Image
from farthing.flows.shim.late import late

__all__ = ["Image"]

__getattr__ = late(
    "promptflow.contracts.multimedia",
    known=globals(),
    instead={"PFBytes": "Use Image; it is bytes as well.", "Text": "Use str."},
)
