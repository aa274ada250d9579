"""`promptflow.tools.serpapi`: web search by SerpAPI."""

from farthing.flows.shim.late import late
from farthing.flows.tools.serpapi import Engine, SafeMode, SerpAPI, search

__all__ = ["Engine", "SafeMode", "SerpAPI", "search"]

__getattr__ = late("promptflow.tools.serpapi", known=globals())
