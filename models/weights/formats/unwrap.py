"""Which of a file's tensors are the weights: containers are opened, and the moving average is taken where there is one."""
from models.weights.formats.arrays import Array
from models.weights.formats.pickles import Inert, Name, Span
from models.weights.formats.source import Refused, shown
from models.weights.formats.tensors import StoredTensor

AVERAGES = ("ema", "model_ema", "ema_model", "params_ema", "state_dict_ema", "ema_state_dict", "model_ema_state_dict", "g_ema")
CONTAINERS = ("state_dict", "model_state_dict", "model", "params", "net", "network", "generator", "g", "weights", "shadow",
              "module")
AVERAGE = "model_ema."               # LitEma of latent diffusion: before a parameter's name without its dots
DEPTH = 4                            # containers in containers
MOST = 50_000                        # tensors
SHOWN = 20                           # names in a note


def weights(value, ema, notes):
    """{name: StoredTensor} of what a file holds; says in `notes` what was chosen and what was left out."""
    if not isinstance(value, dict):
        raise Refused(f"holds no table of tensors by name, but {kind(value)}")
    trail, full = [], holders(value)
    while len(trail) < DEPTH:
        key = chosen(value, ema, full)
        if key is None:
            break
        leave_out(notes, trail, [name for name in value if name != key])
        trail.append(key)
        value = value[key]
    if trail:
        average = any(key in AVERAGES for key in trail)
        notes.append(f"used what is under {'.'.join(map(shown, trail))}{', the moving average' if average else ''}")
    found, left = tensors(value)
    leave_out(notes, trail, left)
    if not found:
        raise Refused("holds no tensors by name")
    return averaged(without_module(found, notes), ema, notes)


def chosen(value, ema, full):
    """The key of the container to open, or None where the tensors lie here. full: what holders() gives."""
    inner = [key for key in value if isinstance(key, str) and id(value[key]) in full]
    for key in (AVERAGES if ema else ()) + CONTAINERS:
        if key in inner:
            return key
    alone = len(inner) == 1 and not any(is_tensor(item) for item in value.values())
    return inner[0] if alone else None


def holders(table):
    """The id() of every dict in a dict that holds a tensor, or a dict that does, and so on. Looks at each dict once, for a
    file may put one into a million others, or in a circle."""
    outside, waiting, full = {id(table): []}, [table], []
    while waiting:
        outer = waiting.pop()
        if any(is_tensor(item) for item in outer.values()):
            full.append(id(outer))
        for item in outer.values():
            if isinstance(item, dict):
                if id(item) not in outside:
                    waiting.append(item)
                outside.setdefault(id(item), []).append(id(outer))
    found = set()
    while full:
        inner = full.pop()
        if inner not in found:
            found.add(inner)
            full += outside[inner]
    return found


def is_tensor(value):
    """Whether a value of a file is a tensor, as a torch file or as any other form holds it."""
    return isinstance(value, (StoredTensor, Array))


def tensors(table):
    """({name: StoredTensor}, names left out) of a dict; those of dicts inside it are called OUTER.INNER."""
    found, left = {}, []
    for name, value in table.items():
        inside = {f"{name}.{inner}": item for inner, item in value.items()
                  if isinstance(inner, str) and is_tensor(item)} if isinstance(value, dict) else {}
        for full, item in (inside or {name: value}).items():
            try:
                tensor = item.tensor() if isinstance(item, Array) else item
            except Refused as error:
                raise Refused(f"{shown(full)} {error}") from None
            if isinstance(name, str) and isinstance(tensor, StoredTensor) and full not in found:
                found[full] = tensor
            else:
                left.append(full)
        if len(found) > MOST:
            raise Refused(f"has more than {MOST:,} tensors")
    return found, left


def without_module(found, notes):
    """The tensors without the "module." that DataParallel puts before every name."""
    if not all(name.startswith("module.") for name in found):
        return found
    notes.append("took 'module.' off every name")
    return {name[len("module."):]: tensor for name, tensor in found.items()}


def averaged(found, ema, notes):
    """The tensors without LitEma's; with `ema` each parameter that has a moving average among them is replaced by it."""
    twins = {name[len(AVERAGE):]: tensor for name, tensor in found.items() if name.startswith(AVERAGE)}
    if not twins.keys() - {"decay", "num_updates"}:
        return found
    plain = {name: tensor for name, tensor in found.items() if not name.startswith(AVERAGE)}
    counters = [name for name in ("decay", "num_updates") if twins.pop(name, None)]
    if not ema:
        notes.append(f"left out the moving average of {len(twins)} parameters (model_ema)")
        return plain
    owners = owners_of(twins, plain)
    for twin, name in owners.items():
        if twins[twin].shape != plain[name].shape:
            raise Refused(f"has a moving average {twins[twin].shape} of {shown(name)}, which is {plain[name].shape}")
    replaced = {name: twins[twin] for twin, name in owners.items()}
    notes.append(f"took the moving average of {len(replaced)} of {len(plain)} tensors (model_ema)"
                 + (f"; left out model_ema.{', '.join(counters)}" if counters else ""))
    return {name: replaced.get(name, tensor) for name, tensor in plain.items()}


def owners_of(twins, plain):
    """{name without dots: name}. The average is of the whole module, or of its `model` (latent diffusion's U-Nets)."""
    for prefix in ("model.", ""):
        names = {}
        for name in plain:
            if name.startswith(prefix):
                names.setdefault(name[len(prefix):].replace(".", ""), []).append(name)
        if twins.keys() <= names.keys():
            break
    else:
        lost = next(twin for twin in twins if twin not in names)
        raise Refused(f"has a moving average {AVERAGE}{shown(lost)} of no parameter; without the averages it can be read")
    for twin in twins:
        if len(names[twin]) > 1:
            raise Refused(f"has a moving average {AVERAGE}{shown(twin)} of {' or '.join(map(shown, names[twin]))}")
    return {twin: names[twin][0] for twin in twins}


def leave_out(notes, trail, names):
    """Notes the names of what is not read."""
    if names:
        under = f" under {'.'.join(map(shown, trail))}" if trail else ""
        text = ", ".join(shown(name) if isinstance(name, (str, int)) else kind(name) for name in names[:SHOWN])
        notes.append(f"left out{under}: {text}" + (f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""))


def kind(value):
    """What a value is, for people."""
    names = {Inert: "an object", Name: "a class", Span: "a long text", Array: "a tensor", StoredTensor: "a tensor"}
    return names.get(type(value)) or (type(value).__name__ if type(value).__module__ == "builtins" else "an object")
