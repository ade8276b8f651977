import csv
import json

import pytest

from evaluation.metrics.report import Row, columns, document, table, write_images
from evaluation.metrics.total import Measured

NO = Measured(reason="no weights")


def row(name="a", m=NO, stand_in=None, **more):
    scores = {"M(small)": stand_in} if stand_in else {}
    scores.update({"M": m, "A": NO, "FID": Measured(40.0), "S": Measured(-1.25), "T": NO})
    return Row(name, f"runs/{name}", scores, **more)


def test_the_table_has_a_line_per_row_and_says_why_a_score_is_missing():
    lines = table([row("short", Measured(90.125)), row("a longer name")]).splitlines()
    assert [line.split() for line in lines[:3]] == [["n", "M", "A", "FID", "S", "T"],
                                                    ["short", "0", "90.12", "-", "40.00", "-1.25", "-"],
                                                    ["a", "longer", "name", "0", "-", "-", "40.00", "-1.25", "-"]]
    assert len({len(line) for line in lines[:3]}) == 1
    assert lines[3:] == ["M not measured (a longer name): no weights", "A not measured: no weights",
                         "T not measured: no weights"]


def test_a_stand_in_has_a_column_of_its_own_after_the_score():
    rows = [row("a", stand_in=Measured(80.0)), row("b", Measured(70.0))]
    assert columns(rows) == ["M", "M(small)", "A", "FID", "S", "T"]
    lines = table(rows).splitlines()
    assert lines[1].split()[2:4] == ["-", "80.00"] and lines[2].split()[2:4] == ["70.00", "-"]


def test_the_json_has_every_score_with_value_and_reason():
    found = json.loads(json.dumps(document([row(details={"FID": {"n_real": 7}}, images={"x": {}})], {"unit": "percent"})))
    assert found["rows"][0]["FID"] == {"value": 40.0, "reason": None, "n_real": 7}
    assert found["rows"][0]["M"] == {"value": None, "reason": "no weights"}
    assert found["rows"][0]["n"] == 1 and found["unit"] == "percent"


def test_the_scores_of_a_single_row_are_also_at_the_top():
    one, two = document([row()], {}), document([row("a"), row("b")], {})
    assert one["FID"] == one["rows"][0]["FID"] and "FID" not in two and [r["name"] for r in two["rows"]] == ["a", "b"]


def test_images_are_written_with_all_digits_and_gaps_where_a_row_has_no_value(tmp_path):
    rows = [row("a", images={"x": {"M": 100 / 3, "S": 2.0}, "y, z": {"M": 0.1 + 0.2, "S": 1.0}}),
            row("b", images={"x": {"S": 5.0}})]
    write_images(tmp_path / "images.csv", rows)
    with open(tmp_path / "images.csv", newline="") as stream:
        found = list(csv.DictReader(stream))
    assert [(line["row"], line["image"], line["M"]) for line in found] == [
        ("a", "x", repr(100 / 3)), ("a", "y, z", repr(0.1 + 0.2)), ("b", "x", "")]
    assert float(found[1]["M"]) == 0.1 + 0.2 and list(found[0]) == ["row", "image", "M", "S"]


def test_a_score_without_a_reason_cannot_be_missing():
    with pytest.raises(ValueError, match="expected one of the two"):
        Measured()
