"""A FUSE-over-io_uring server of our own, its process manager, and traffic for it.

The server packs and unpacks the protocol by itself, apart from ``furtrace.wire``: what it says it received and
answered (``--log``) is a witness that does not share the decoder's mistakes.
"""
