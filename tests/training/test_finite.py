import numpy as np
import pytest

from runtime.backend import jt
from runtime.errors import RunError
from tests.helpers import on_cpu
from training.finite import all_finite, check_losses, check_weights


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@on_cpu
def test_one_number_among_many_that_is_not_finite_is_seen(rng, bad):
    arrays = [rng.standard_normal((6, 10), dtype=np.float32) * 1e4 for _ in range(3)]
    assert all_finite([jt.array(array) for array in arrays])
    check_weights({str(i): jt.array(array) for i, array in enumerate(arrays)}, 7)
    arrays[1][5, 9] = bad
    assert not all_finite([jt.array(array) for array in arrays])
    with pytest.raises(RunError, match="weights of 1 are not finite after step 7"):
        check_weights({str(i): jt.array(array) for i, array in enumerate(arrays)}, 7)
    check_losses({"loss": 1.0, "mse": 2.0}, 7)
    with pytest.raises(RunError, match=r"not finite at or shortly before step 7 \(loss 1.0, mse (-?inf|nan)\)"):
        check_losses({"loss": 1.0, "mse": bad}, 7)
