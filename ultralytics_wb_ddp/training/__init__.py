"""One Ultralytics training that is being logged: events, ranks, the stock callback."""
