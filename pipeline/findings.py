"""What a comparison has found: each difference as one sentence, and whether it was mended."""

from collections.abc import Iterable
from dataclasses import dataclass, field

FINDINGS_MAX = 100
"""So many of one check are kept and shown; all are counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference: what and where, what was expected, what was found, and what to do."""

    where: str
    what: str
    expected: str
    got: str
    advice: str
    is_mended: bool = False

    @property
    def sentence(self) -> str:
        """All of it in one sentence."""
        return f"{self.what} at {self.where}: expected {self.expected}, got {self.got}; {self.advice}"


@dataclass(slots=True)
class Result:
    """What one check has compared, and how it came out."""

    compared: int = 0
    of: str = "rows"
    """What was compared, as a noun in the plural."""
    findings: list[Finding] = field(default_factory=list)
    """The first `FINDINGS_MAX`."""
    open: int = 0
    """How many differences there are still."""
    mended: int = 0
    """How many there were, and are no more."""
    not_checked: str = ""
    """Why nothing, or not all, was compared; empty where all was."""

    def add(self, findings: Iterable[Finding]) -> None:
        """Count differences, and keep the first of them."""
        for finding in findings:
            self.mended += finding.is_mended
            self.open += not finding.is_mended
            if len(self.findings) < FINDINGS_MAX:
                self.findings.append(finding)
