"""What goes wrong most often, in plain words and with the cure: before training and after it."""

from __future__ import annotations

from simplecell.doctor.figures import hidden
from simplecell.doctor.inputs import Finding, Training, examine_inputs
from simplecell.doctor.training import examine
from simplecell.run.evaluate import Figures
from simplecell.run.session import Session

__all__ = ["Doctor", "Finding", "Training", "examine", "examine_inputs", "hidden"]


class Doctor:
    """Looks at a session before its training, and once more when that has come to its end.

    `early` and `late` are what it found; the session keeps both with its figures.
    """

    def __init__(self, session: Session) -> None:
        self.early, self.late = examine_inputs(session), list[Finding]()
        session.doctor = self

    def __call__(self, session: Session, figures: Figures) -> list[dict[str, str]]:
        """Everything found, as tables; `figures` are those of the training samples."""
        self.late = examine(session, figures)
        return [finding.table() for finding in (*self.early, *self.late)]
