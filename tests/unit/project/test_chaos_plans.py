"""The campaign of random faults: its plans are drawn again from their seed."""

from __future__ import annotations

from chaos.faults import FAULTS
from chaos.plan import draw
from chaos.timeline import Timeline


def test_plan_is_drawn_again_from_its_seed_and_number() -> None:
    plans = [draw(7, number) for number in range(200)]

    assert plans == [draw(7, number) for number in range(200)]
    assert "--seed 7 --only 3: " in str(plans[3])
    assert {strike.kind.group for plan in plans for strike in plan.strikes} == {kind.group for kind in FAULTS.values()}
    assert all(
        strike.kind.is_possible(plan.usage, plan.processes, online=plan.online)
        for plan in plans
        for strike in plan.strikes
    )


def test_faults_and_usages_that_are_asked_for_are_drawn() -> None:
    plans = [draw(1, number, ["A"], ["1", "2"], ["server", "kill torchrun"]) for number in range(50)]

    assert {plan.usage for plan in plans} == {"A"}
    assert {plan.processes for plan in plans} <= {"1", "2", "torchrun"}
    assert str(plans[3]).startswith(
        "--seed 1 --only 3 --usage A --processes 1 --processes 2 --fault server --fault 'kill torchrun': A, "
    )
    assert {strike.kind.group for plan in plans for strike in plan.strikes} == {"server", "kill"}
    assert {strike.fault for plan in plans for strike in plan.strikes if strike.kind.group == "kill"} == {
        "kill torchrun"
    }


def test_fault_that_is_asked_for_is_drawn_where_it_is_possible() -> None:
    plans = [draw(1, number, faults=["kill torchrun"]) for number in range(20)]

    assert {(plan.strikes[0].fault, plan.processes) for plan in plans} == {("kill torchrun", "2")}
    assert "A" not in {draw(1, number, faults=["kill service process"]).usage for number in range(20)}


def test_moment_of_a_fault_is_found_by_the_marks_before_it() -> None:
    timeline = Timeline(10.0, (2.0, 4.0, 8.0))

    assert timeline.moment(0.1, by_steps=False) == (0, 1.0)
    assert timeline.moment(0.5, by_steps=False) == (2, 1.0)
    assert timeline.moment(1.0, by_steps=False) == (3, 2.0)
    assert timeline.moment(0.125, by_steps=True) == (0, 1.0)
    assert timeline.moment(0.625, by_steps=True) == (2, 2.0)
    assert timeline.moment(1.0, by_steps=True) == (3, 2.0)
