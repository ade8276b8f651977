"""From a yaml, or the JSON in a checkpoint, to a checked Config and back."""
import dataclasses
import difflib
import typing
from pathlib import Path

import yaml

from configs.legacy import old_words
from configs.own_classes import ClassesConfig
from configs.ranges import MANY
from configs.schema import CONFIGS, Config, ConfigError
from runtime import documents
from runtime.errors import UserError


def load_config(path, overrides=(), whole=True):
    """The config in a yaml file, with `a.b=value` overrides; a bare name is configs/NAME.yaml. Raises ConfigError.

    whole=False leaves out what relates sections to each other, for check_config once the autoencoder's file is known.
    """
    return config_from(read_yaml(resolve(path)), overrides, where=str(resolve(path)), whole=whole)


def resolve(path):
    """The yaml that a path or a bare name means. Raises ConfigError that lists those there are."""
    path = Path(path)
    if path.suffix not in (".yaml", ".yml") and (CONFIGS / f"{path}.yaml").exists():
        path = CONFIGS / f"{path}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.name for p in CONFIGS.glob("*.yaml")))
        raise ConfigError(f"{path}: no such config; configs/ has {known}")
    return path


def read_yaml(path):
    """A yaml file as a dict. Raises ConfigError with the line where it is not yaml."""
    try:
        tree = documents.read_yaml(path)
    except UserError as error:
        raise ConfigError(error.problems) from None
    if tree is not None and not isinstance(tree, dict):
        raise ConfigError(f"{path}: found {type(tree).__name__}, expected sections such as `train:`")
    return tree or {}


def config_from(tree, overrides=(), where="config", whole=True):
    """A checked Config from nested dicts (a yaml, or the JSON in a checkpoint) and `a.b=value` overrides."""
    tree = _copy(tree)
    for override in overrides:
        _apply(tree, override)
    problems = [f"{where}: {line}" for line in old_words(tree)]
    if problems:
        raise ConfigError(problems)
    _take_classes(tree)
    config = _build(Config, tree, "", where)
    for prefix, part in [("", config)] if whole else [(section.name, getattr(config, section.name))
                                                      for section in dataclasses.fields(config)]:
        check_config(part, where, prefix)
    return config


def class_set(path):
    """The ClassSet that a yaml of classes says. Raises ConfigError."""
    section = _build(ClassesConfig, read_yaml(path), "", str(path))
    check_config(section, str(path))
    if not section.classes:
        raise ConfigError(f"{path}: has no classes, expected a list of them")
    return section.class_set


def _take_classes(tree):
    """Puts what the yaml named by data.classes says in its place, and the number of classes where no network says one."""
    data = tree.get("data")
    given = data.get("classes") if isinstance(data, dict) else None
    if isinstance(given, str):
        if not given:
            del data["classes"]
            return
        if not Path(given).is_file():
            raise ConfigError(f"data.classes is {given}: no such file, expected a yaml of classes")
        given = data["classes"] = read_yaml(given)
    if isinstance(given, dict) and isinstance(given.get("classes"), list) and given["classes"]:
        for name in ("unet", "segmenter"):
            if isinstance(tree.setdefault(name, {}), dict):
                tree[name].setdefault("classes", len(given["classes"]))


def section_from(name, tree, where):
    """One checked section of a Config, such as "unet", from a dict of its options. Raises ConfigError."""
    section = _build(type(getattr(Config(), name)), tree, f"{name}.", where)
    check_config(section, where, name)
    return section


def config_dict(config):
    """A config as nested dicts of plain values, as yaml and JSON hold it."""
    return dataclasses.asdict(config)


def config_yaml(config):
    """A config as yaml text that load_config reads back to an equal one."""
    return yaml.safe_dump(config_dict(config), sort_keys=False, default_flow_style=None, width=120)


def _copy(tree):
    if isinstance(tree, dict):
        return {key: _copy(value) for key, value in tree.items()}
    return [_copy(value) for value in tree] if isinstance(tree, list) else tree


def _apply(tree, override):
    name, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"--set {override}: expected section.option=value")
    *sections, last = name.strip().split(".")
    for section in sections:
        if tree.get(section) is None:                # absent, or `train:` with nothing under it
            tree[section] = {}
        tree = tree[section]
        if not isinstance(tree, dict):
            raise ConfigError(f"--set {override}: {section} has no options of its own")
    try:
        tree[last] = documents.parse_yaml(text) if text.strip() else ""
    except documents.Malformed:
        raise ConfigError(f"--set {override}: the value is not yaml") from None


def _build(kind, tree, prefix, where):
    if not isinstance(tree, dict):
        raise ConfigError(f"{where}: {prefix.rstrip('.') or 'config'} is {tree!r}, expected options")
    hints = typing.get_type_hints(kind)
    defaults = kind()
    values = {}
    for key, value in tree.items():
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, n=1)
            hint = f"; did you mean {prefix}{near[0]}?" if near else f"; there are {', '.join(hints)}"
            raise ConfigError(f"{where}: {prefix}{key} is not an option{hint}")
        values[key] = _value(hints[key], value, f"{prefix}{key}", where, getattr(defaults, key))
    return dataclasses.replace(defaults, **values)


def _value(hint, value, name, where, default):
    if dataclasses.is_dataclass(hint):
        # A section keeps its owner's defaults: train.unet and train.autoencoder share a class, not their numbers.
        return _build_onto(default, value, f"{name}.", where)
    if typing.get_origin(hint) is list:
        if not isinstance(value, list):
            raise ConfigError(f"{where}: {name} is {value!r}, expected a list")
        (item,) = typing.get_args(hint)
        return [_value(item, v, f"{name}[{i}]", where, item() if dataclasses.is_dataclass(item) else None)
                for i, v in enumerate(value)]
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        extra = " (write 1.0e-4: yaml reads 1e-4 as text)" if hint is float and isinstance(value, str) else ""
        raise ConfigError(f"{where}: {name} is {value!r}, expected {hint.__name__}{extra}")
    return value


def _build_onto(default, tree, prefix, where):
    if tree is None:
        raise ConfigError(f"{where}: {prefix.rstrip('.')} is empty, expected options")
    built = _build(type(default), tree, prefix, where)
    given = {key: getattr(built, key) for key in tree}
    for key in given:
        if dataclasses.is_dataclass(given[key]):
            given[key] = _build_onto(getattr(default, key), tree[key], f"{prefix}{key}.", where)
    return dataclasses.replace(default, **given)


def check_config(value, where, prefix=""):
    """Raises ConfigError where a config's, or a section's, values are out of their range or contradict each other. prefix:
    the section's name, such as `sampling`."""
    problems = [f"{where}: {line}" for line in out_of_range(value, prefix)]
    if problems:
        raise ConfigError(problems)                  # before check(): that may divide by what must not be 0
    _check_relations(value, where)


def _check_relations(value, where):
    if dataclasses.is_dataclass(value):
        for item in dataclasses.fields(value):
            _check_relations(getattr(value, item.name), where)
        if hasattr(value, "check"):
            try:
                value.check()
            except UserError as error:
                raise ConfigError([f"{where}: {problem}" for problem in error.problems]) from None
    elif isinstance(value, list):
        for item in value:
            _check_relations(item, where)


def out_of_range(section, prefix=""):
    """A line for every value of a section, and of those within it, that is not in the range its field states."""
    lines = []
    for item in dataclasses.fields(section):
        name, value = f"{prefix}.{item.name}".lstrip("."), getattr(section, item.name)
        low, high = item.metadata.get("range", (None, None))
        entries = [(name, value)]
        if isinstance(value, list):
            entries = [(f"{name}[{i}]", entry) for i, entry in enumerate(value)]
            least, most = item.metadata.get("length") or (0, MANY)
            if not least <= len(value) <= most:
                lines.append(f"{name} has {len(value)} entries, expected {between(least, most)}")
                continue
        for label, entry in entries:
            if dataclasses.is_dataclass(entry):
                lines += out_of_range(entry, label)
            elif isinstance(entry, str) and any(not c.isprintable() for c in entry):
                lines.append(f"{label} is {entry!r}, expected a text without line ends or control characters")
            elif low is not None and not low <= entry <= high:       # nan is in no range
                lines.append(f"{label} is {entry}, expected {between(low, high)}")
    return lines


def between(low, high):
    """A range in words."""
    if low == high:
        return f"{low}"
    return f"at least {low}" if high == MANY else f"{low} to {high}"
