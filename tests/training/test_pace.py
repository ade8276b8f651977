import pytest

from training import pace
from training.pace import Pace, spelled


def test_the_hours_left_are_said_once_without_the_steps_that_compile(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: clock[0])
    found, lines = Pace(), []
    for step in range(1, 41):
        clock[0] += 100 if step <= 2 else 7 if step == 10 else 2
        lines.append(found.passed(1000 - step, counts=step != 9))        # a picture was drawn after the ninth
        if step == 2:
            assert found.hours(998) is None
    assert [i + 1 for i, line in enumerate(lines) if line] == [20]
    assert "s a step, about 37 min left" in lines[19]                # 41 s for 18 steps, 980 are left
    assert found.longest == 2                                            # the tenth waited for the picture
    assert found.hours(3600) == pytest.approx(81 / 38)


@pytest.mark.parametrize("hours, text", [(0.5, "30 min"), (5, "5.0 hours"), (200, "8.3 days")])
def test_hours_are_spelled_for_people(hours, text):
    assert spelled(hours) == text
