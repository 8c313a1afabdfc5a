"""What `check` shows: a line for each finding, and what to do below it."""

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from daemon.doctor.findings import Finding, Level

STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "bold red"}
WIDTH = max(len(level) for level in Level)


def show(findings: Iterable[Finding], console: Console) -> list[Finding]:
    """Shows each as soon as it is there; gives them all."""
    shown = []
    for finding in findings:
        console.print(line(finding), soft_wrap=True)
        shown.append(finding)
    return shown


def line(finding: Finding) -> Text:
    """`problem  rights: the role lacks … → GRANT …`, coloured."""
    text = Text.assemble((f"{finding.level:<{WIDTH}}", STYLES[finding.level]), f"  {finding.check}: {finding.says}")
    return text.append(f" → {finding.remedy}", style="bold") if finding.remedy else text
