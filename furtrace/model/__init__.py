"""The state machine: batches of events in, requests, entries, queues and connections out.

Works on whole batches with numpy, so that its cost an event stays far below that of a Python call. Imports
:mod:`furtrace.wire` and :mod:`furtrace.trace` only.
"""
