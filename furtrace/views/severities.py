"""How bad a finding is, as a colour."""

from typing import Final

from furtrace.checks.findings import Severity

STYLES: Final = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow", Severity.NOTE: "bold cyan"}
