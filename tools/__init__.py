"""Programs for whoever works on vectord. None of them is part of the daemon."""
