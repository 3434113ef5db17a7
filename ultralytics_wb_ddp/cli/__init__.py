"""The command ``ultralytics-wb-ddp``, with one file for each subcommand."""
