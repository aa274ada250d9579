"""The shared words: messages, calls, money, models, errors and the sockets.

Keeps: records and pure arithmetic that every room speaks with.
Does not know: input and output, time, randomness, asynchrony. It imports the standard library's pure
parts and msgspec, nothing else.
Door: import the word from its module (`farthing.core.messages`, `farthing.core.money`, …).
"""
