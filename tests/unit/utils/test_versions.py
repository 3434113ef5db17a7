"""Releases are compared by their numbers."""

from __future__ import annotations

from ultralytics_wb_ddp.utils.versions import version_of


def test_versions_are_compared_by_number() -> None:
    assert version_of("8.10.0") > version_of("8.4.140")
    assert version_of("2.9.1+cu128") == (2, 9, 1)
    assert version_of("0.22.3rc1") == (0, 22, 3)
