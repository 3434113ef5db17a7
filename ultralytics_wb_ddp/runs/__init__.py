"""One W&B run: resolve, open, guard, hand over, record, finish. No trainer."""
