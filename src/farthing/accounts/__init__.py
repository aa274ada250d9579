"""Accounts: API keys, budgets, and the ledger of what was spent.

Keeps: who may call, what is held for calls under way, what was charged; every table about money.
Does not know: providers, prices, HTTP.
Door: `accounts.accounts.Accounts`.
"""
