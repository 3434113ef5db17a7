"""Groups of runs: folds, their metrics and a summary run."""
