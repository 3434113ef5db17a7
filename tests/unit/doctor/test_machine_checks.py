"""Words that are no device are named."""

from __future__ import annotations

import pytest

from ultralytics_wb_ddp.config.options import WandbConfig
from ultralytics_wb_ddp.doctor.finding import DoctorRequest
from ultralytics_wb_ddp.doctor.machine_checks import check_gpus


@pytest.mark.parametrize(
    ("device", "told"),
    [
        ("zero,1", "device zero,1: 'zero' is no device -> give numbers of GPUs"),
        ("0,one,2a", "'one', '2a' are no devices"),
        *((device, None) for device in ("cpu", "mps", "-1", "cuda:0, cuda:1", "[0, 1]", "npu:0", "intel:gpu", "")),
    ],
)
def test_word_that_is_no_device_is_an_error(device: str, told: str | None) -> None:
    findings = check_gpus(DoctorRequest(WandbConfig(), device=device))

    texts = [f"{finding.message} -> {finding.remedy}" for finding in findings if "no device" in finding.message]
    assert bool(texts) == bool(told)
    if told:
        assert told in texts[0]
        assert findings[0].status == "error"
