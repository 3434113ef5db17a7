"""Functions in processes of their own."""

from __future__ import annotations

import functools
import operator
import os
import pickle
import subprocess

from ultralytics_wb_ddp.wandb_client.child_process import run_in_child


def test_function_is_called_in_another_process() -> None:
    output, _ = run_in_child(os.getpid, stdout=subprocess.PIPE).communicate()

    assert pickle.loads(output) != os.getpid()


def test_function_has_the_given_variables() -> None:
    read = functools.partial(os.getenv, "SHARE")

    output, _ = run_in_child(read, variables={"SHARE": "0,1"}, stdout=subprocess.PIPE).communicate()

    assert pickle.loads(output) == "0,1"


def test_error_of_the_function_ends_its_process() -> None:
    process = run_in_child(functools.partial(operator.truediv, 1, 0), stderr=subprocess.PIPE)

    assert b"ZeroDivisionError" in process.communicate()[1]
    assert process.returncode == 1


def test_exit_code_of_the_function_is_that_of_its_process() -> None:
    assert run_in_child(functools.partial(os._exit, 3)).wait() == 3


def test_process_is_out_of_reach_of_this_group_s_signals() -> None:
    output, _ = run_in_child(os.getpgrp, stdout=subprocess.PIPE).communicate()

    assert pickle.loads(output) != os.getpgrp()
