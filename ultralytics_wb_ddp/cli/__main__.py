"""Run the command with ``python -m ultralytics_wb_ddp.cli``."""

from ultralytics_wb_ddp.cli.main import main

if __name__ == "__main__":
    main()
