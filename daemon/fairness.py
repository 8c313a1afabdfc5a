"""Callers come first wherever images wait: for a loader, for its decoder, for the model. Not for ever, though."""

FAIR_EVERY = 16
"""Urgent images after which an ordinary one goes: a caller does not notice a sixteenth of the rate, and the rest of the
work goes on however many callers there are."""
