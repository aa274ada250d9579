"""How many tokens a text has: bounded always, estimated in microseconds, exact where ranks are at hand.

Keeps: the estimator with its calibrated constants and stated error, the bound that money relies on, and
exact counts by tiktoken when its rank files are already on this machine.
Does not know: prices, context sizes. It never opens a network connection.
Door: `upper_bound_tokens` for money, `estimate_tokens` for the call path, `count_tokens` for people.
"""

from farthing.base.tokens.count import TokenCount, count_tokens, count_tokens_in_thread
from farthing.base.tokens.estimate import error_share, estimate_tokens, upper_bound_tokens

__all__ = [
    "TokenCount",
    "count_tokens",
    "count_tokens_in_thread",
    "error_share",
    "estimate_tokens",
    "upper_bound_tokens",
]
