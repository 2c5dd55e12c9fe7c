"""Event records and where they come from. Imports :mod:`furtrace.wire` only."""
