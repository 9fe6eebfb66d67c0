"""MDRUN: evaluate the sections of code in a Markdown document, and show what they give."""

from plxnix.mdrun.document import Evaluation, evaluate_document
from plxnix.mdrun.sections import Document, Outcome, Section

__all__ = ["Document", "Evaluation", "Outcome", "Section", "evaluate_document"]
