"""Build rows, charts and tables from trainers and validators, without a run."""
