"""runtime/documents.py: what JSON and yaml may hold, and the line that anything else gets."""
import os

import pytest

from configs.reading import config_from, load_config
from configs.schema import ConfigError
from runtime.documents import Malformed, parse_json, parse_yaml, read_json, read_yaml
from runtime.errors import UserError

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(8))


@pytest.mark.parametrize("text, words", [
    (LAUGHS, "line 2 not yaml: an alias"), ("a: &a [*a]", "an alias"), ("a: &a {<<: *a}", "an alias"),
    ("[" * 5000, "levels"), ("a: " + "[" * 40 + "]" * 40, "levels"), ("{a: " * 40 + "1" + "}" * 40, "levels"),
    ("\n".join(" " * i + "a:" for i in range(50)), "levels"), ("a: 2026-99-99", "not yaml"), ("a: 2026-02-30", "not yaml"),
    ("a: !!python/object/apply:os.system [ls]", "not yaml"), ("a: [1", "line 1 not yaml"), ("\ta: 1", "line 1 not yaml"),
    ("a: !!int x", "not yaml"), ("a: \x07", "not yaml"), ("? [a]\n: b", "not yaml"), ("[" * 30000, "brackets"),
    ("a: !!binary x", "not yaml"), ("a: !!float ''", "not yaml")])
def test_a_yaml_that_is_none_or_a_trap_is_one_line(text, words, tmp_path):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        read_yaml(tmp_path / "a.yaml")
    assert len(caught.value.report()) == 1 and words in caught.value.problems[0]
    with pytest.raises(ConfigError):
        load_config(tmp_path / "a.yaml")
    if "\n" not in text:
        with pytest.raises(ConfigError):
            config_from({}, [f"data.{text.replace(': ', '=', 1)}"])


@pytest.mark.parametrize("text", ["[" * 100000, "[" * 40 + "]" * 40, '{"a":' * 2000 + "1" + "}" * 2000, "", "nul", "{'a': 1}",
                                  "1" * 5000, '{"a": 1,}', "\udcff"])
def test_a_json_that_is_none_or_a_trap_is_a_value_error(text):
    with pytest.raises(ValueError):
        assert isinstance(parse_json(text), int) and float(text)  # Pythons without a limit read 5,000 digits


def test_depth_counts_levels_and_not_entries():
    assert parse_json("[" * 32 + "]" * 32) and len(parse_json(f"[{','.join('[]' for _ in range(10000))}]")) == 10000
    assert parse_yaml("{a: [1, {b: c}]}") == {"a": [1, {"b": "c"}]}
    with pytest.raises(Malformed):
        parse_json("[" * 33 + "]" * 33)


@pytest.mark.parametrize("read", [read_json, read_yaml])
def test_only_ordinary_files_of_a_sensible_size_are_read(read, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with open(tmp_path / "large", "wb") as stream:
        stream.truncate(100 << 20)
    for name, words in (("pipe", "no ordinary file"), ("large", "expected at most"), (".", "a folder"),
                        ("none", "No such file")):
        with pytest.raises(UserError, match=words):
            read(tmp_path / name)
    (tmp_path / "latin").write_bytes(b"a: \xe9")
    with pytest.raises(UserError):
        read(tmp_path / "latin")
