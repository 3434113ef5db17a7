"""General helpers that know nothing of W&B, torch or Ultralytics."""
