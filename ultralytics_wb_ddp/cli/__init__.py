"""The command ``ultralytics-wb-ddp``, a file for each subcommand."""
