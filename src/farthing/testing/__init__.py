"""Tests for plug-ins: subclass a conformance class, name the thing under test, and run pytest.

Keeps: one conformance class per socket, and the scripted HTTP server that they use.
Does not know: any built-in thing; these classes test ours and yours alike. Needs pytest, which only a
test run has.
Doors: `testing.providers.ProviderConformance`, `testing.codecs.CodecConformance`, `testing.server.serving`.
"""
