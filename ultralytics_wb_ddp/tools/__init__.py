"""One-shot work on finished runs and training directories."""
