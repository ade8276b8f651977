import math

import pytest

from training.watch import stalled


@pytest.mark.parametrize("heard, late", [
    ({0: (7, 0, 60), 1: (7, 5, 60)}, []),                    # all in time
    ({0: (8, 0, 60), 1: (7, 5, 60)}, []),                    # process 0 waits, and may
    ({0: (8, 0, 10), 1: (7, 5, 60)}, []),
    ({0: (8, 50, 60), 1: (7, 5, 60)}, [1]),                  # the one that has come least often is the one that stalls
    ({0: (8, 0, 60), 1: (8, 5, 60)}, [0, 1]),                # nobody goes on
    ({0: (7, 0, math.inf), 1: (8, 5, 60)}, []),              # it validates
    ({0: (7, 0, 60)}, []),                                   # one that was never heard of may be out of reach
])
def test_the_process_that_has_come_least_often_and_is_late_has_stalled(heard, late):
    now = 70 if late else 50
    assert stalled(heard, 2, now) == late


def test_a_process_that_may_take_any_time_is_never_late():
    assert stalled({0: (3, 0, math.inf), 1: (4, 0, 45)}, 2, 1e9) == []
    assert stalled({0: (3, 0, math.inf), 1: (3, 0, 45)}, 2, 1e9) == []
