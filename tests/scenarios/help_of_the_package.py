"""Prints what ``help()`` says of each module, of the signatures in it and their defaults."""

from __future__ import annotations

import importlib
import pkgutil
import pydoc

import ultralytics_wb_ddp

for info in pkgutil.walk_packages(ultralytics_wb_ddp.__path__, "ultralytics_wb_ddp."):
    if not info.name.endswith("__main__"):
        print(pydoc.plain(pydoc.render_doc(importlib.import_module(info.name))))
