import re

import numpy as np
import pytest

from runtime import pictures
from runtime.errors import UserError
from runtime.log import RunLog
from training.report import chart, report


def test_the_page_of_a_run_holds_all_it_shows(tmp_path):
    log = RunLog(tmp_path / "unet")
    for step in (1, 10, 20):
        log.write("train", stage="unet", step=step, lr=1e-4, loss=1 / step, mse=0.5 / step, steps_per_second=2.0)
    log.write("validate", stage="unet", step=20, val_loss=0.3)
    for step in range(10, 90, 10):
        pictures.save(tmp_path / "unet" / "samples" / f"{step:08d}.png", np.full((12, 16, 3), step, np.uint8))
    (tmp_path / "config.yaml").write_text("train: {run: <b>x</b>}\n")
    page = report(tmp_path)
    assert page.count("<svg") == 2 and page.count("data:image/jpeg;base64,") == 6          # losses, rate; 6 of 8 pictures
    assert "step 10<" in page and "step 80<" in page and "&lt;b&gt;x" in page
    assert not re.search(r'(src|href)="(?!data:)', page)                                   # it needs nothing else
    with pytest.raises(UserError, match="no log of a stage"):
        report(tmp_path / "unet")


@pytest.mark.parametrize("values", [[1.0, 1.0], [0.0, 0.0], [1e-5, 1e3], [-1.0, 2.0]])
def test_a_chart_stays_in_its_frame(values):
    for log_y in (False, True):
        svg = chart({"loss": list(enumerate(values))}, log_y)
        points = re.search(r'points="([^"]*)"', svg).group(1).split()
        assert all(0 <= float(y) <= 260 and 0 <= float(x) <= 620 for x, y in (point.split(",") for point in points))
