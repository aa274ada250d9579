"""The vendors' JSON, written a second time: what a request asks, and how an answer looks.

Keeps: one file per dialect, from the vendors' own references. Does not know: quota, money, sockets, and
on purpose not the gateway's codecs, whose judge it is.
"""
