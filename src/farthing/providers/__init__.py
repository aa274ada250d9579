"""Who sells model calls: one file per vendor protocol, rows of data for vendors that speak OpenAI's.

Keeps: the catalogue (prices, context sizes, capabilities: data with source and date), the HTTP transport
with its timeouts and error border, recorded answers, and the directory of what can be called here.
Does not know: budgets, policies, who is asking. A provider sees one attempt and answers it or fails.
Doors: `directory.build_directory`, `catalogue.Catalogue`, `detect.detect`; for authors of providers
`transport.HttpProvider`.
"""
