"""The commands of ``ultralytics-wb-ddp``, a file for each: what it is given, what it says, its exit code."""
