"""Everything that touches bcc, libbpf, /proc and /sys: probes, vantages, attaching, draining, the connections at hand.

Imported only by :mod:`furtrace.cli`, :mod:`furtrace.demo` and its own tests, so that the rest of furtrace runs
anywhere, as any user.
"""
