"""Findings as JSON: an object each, or all of them as SARIF 2.1.0 (OASIS), which CI systems read."""

from collections.abc import Iterable
from typing import Any, Final

from furtrace import __version__
from furtrace.checks.findings import Finding, Rule, Severity
from furtrace.export.jsonlines import event_object, request_objects
from furtrace.model.conversation import Conversation

_LEVELS: Final = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}
_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"


def finding_object(finding: Finding, conversation: Conversation) -> dict[str, Any]:
    """A finding; its request as ``furtrace replay --json`` has it, and the events that prove it."""
    subjects = conversation.paths.present(finding.request)
    requests = list(request_objects(finding.request, subjects)) if len(finding.request) else [None]
    return {
        "type": "finding",
        "rule": finding.rule.id,
        "severity": finding.rule.severity.word,
        "title": finding.rule.title,
        "sentence": finding.sentence,
        "ns": finding.ns,
        "connection": finding.connection,
        "queue": finding.queue,
        "unique": finding.unique,
        "request": requests[0],
        "events": [event_object(event) for event in finding.events],
    }


def sarif(findings: Iterable[dict[str, Any]], rules: Iterable[Rule], source: str) -> dict[str, Any]:
    """A log in the form SARIF.

    Args:
        findings: as :func:`finding_object` made them.
        rules: all that were held against the trace.
        source: the recording, or what was traced.
    """
    driver = {
        "name": "furtrace",
        "version": __version__,
        "rules": [
            {
                "id": rule.id,
                "shortDescription": {"text": rule.title},
                "fullDescription": {"text": rule.explanation},
                "help": {"text": rule.remedy},
                "defaultConfiguration": {"level": _LEVELS[rule.severity]},
            }
            for rule in rules
        ],
    }
    results = [_result(finding, source) for finding in findings]
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}


def _result(finding: dict[str, Any], source: str) -> dict[str, Any]:
    where = [f"connection {finding['connection']}"]
    where += [f"{name} {finding[name]}" for name in ("queue", "unique") if finding[name] is not None]
    return {
        "ruleId": finding["rule"],
        "level": finding["severity"],
        "message": {"text": finding["sentence"]},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": source}},
                "logicalLocations": [{"fullyQualifiedName": ", ".join(where)}],
            }
        ],
        "properties": {name: finding[name] for name in ("ns", "connection", "queue", "unique")},
    }
