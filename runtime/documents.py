"""JSON and yaml as they come in from files: bounded in size and depth, ordinary files only, one line for whatever is wrong."""
import json
import os
import stat
from pathlib import Path

import yaml

from runtime.errors import UserError

SIZE = 64 << 20                   # bytes of a JSON file; a table of a million masks has 50 MB
YAML_SIZE = 1 << 20               # of a yaml file, which takes 1,000 times as long
DEPTH = 32                        # of objects and lists within each other


class Malformed(ValueError):
    """A text that is no JSON or yaml, or more than anybody means. `line`: where, from 1, or None."""

    def __init__(self, reason, line=None):
        super().__init__(reason)
        self.line = line


def read_bytes(path, most):
    """The bytes of an ordinary file. Raises UserError for a missing file, a folder, a pipe (which would be waited for) and a
    file that is too large."""
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            raise UserError(f"{path}: found {'a folder' if stat.S_ISDIR(found.st_mode) else 'no ordinary file'}, "
                            "expected a file")
        if found.st_size > most:
            raise UserError(f"{path}: found {found.st_size:,} bytes, expected at most {most:,}")
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None


def read_json(path, object_pairs_hook=None):
    """The value in a JSON file. Raises UserError, one line."""
    data = read_bytes(path, SIZE)
    try:
        return parse_json(data.decode("utf-8-sig"), object_pairs_hook)
    except ValueError as error:                          # UnicodeDecodeError is one
        raise UserError(f"{path}: found no JSON ({error})") from None


def parse_json(text, object_pairs_hook=None):
    """The value of a JSON text. Raises ValueError; for numbers of thousands of digits, and more than DEPTH levels, too."""
    try:
        value = json.loads(text, object_pairs_hook=object_pairs_hook)
    except RecursionError:
        raise Malformed(f"more than {DEPTH} levels") from None
    if depth(value) > DEPTH:
        raise Malformed(f"more than {DEPTH} levels")
    return value


def depth(value):
    """How many levels of objects and lists lie within each other."""
    level, here = 0, [value]
    while here := [item for item in here if isinstance(item, (dict, list))]:
        level += 1
        if level > DEPTH:
            break
        here = [inner for item in here for inner in (item.values() if isinstance(item, dict) else item)]
    return level


class Loader(yaml.SafeLoader):
    """Plain values only. No anchors: a few lines of them name each other to a billion values, or to themselves."""
    level = 0

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            raise Malformed("an alias (*name), expected its value written out", self.peek_event().start_mark.line + 1)
        self.level += 1
        if self.level > DEPTH:
            raise Malformed(f"more than {DEPTH} levels", self.peek_event().start_mark.line + 1)
        node = super().compose_node(parent, index)
        self.level -= 1
        return node


def parse_yaml(text):
    """The value of a yaml text. Raises Malformed."""
    try:
        if text.count("[") + text.count("{") > 20000:    # the scanner slows down with each that is open
            raise Malformed("more brackets than a config has")
        return yaml.load(text, Loader)                   # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise Malformed(getattr(error, "problem", None) or str(error), mark.line + 1 if mark else None) from None
    except (ValueError, ArithmeticError, RecursionError, TypeError, LookupError, AttributeError) as error:
        if isinstance(error, Malformed):
            raise
        raise Malformed(str(error).splitlines()[0] if str(error) else type(error).__name__) from None  # such as 2026-99-99


def read_yaml(path):
    """The value in a yaml file. Raises UserError, one line, with the line of the file."""
    data = read_bytes(path, YAML_SIZE)
    try:
        return parse_yaml(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not yaml: {error.reason}, expected UTF-8") from None
    except Malformed as error:
        raise UserError(f"{path}:{f' line {error.line}' if error.line else ''} not yaml: {error}") from None
