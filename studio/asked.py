"""What the page may ask of a painting, checked: nothing else reaches the painter."""
import re
from dataclasses import asdict, dataclass
from typing import Optional

from runtime.errors import UserError
from studio.presets import TRANSFERS

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
VARIATIONS = 4


@dataclass
class Asked:
    """Options of one painting; None leaves one as the preset has it."""
    style: str                        # id of a style, or of a result
    preset: str
    name: str = "studio"              # of the mask: it keys the noise, together with the seed
    seed: int = 0
    strength: Optional[int] = None    # t_start of the first round: how far the style picture is noised, 0..999
    rounds: Optional[int] = None      # only the first so many
    guidance: Optional[float] = None  # of every round
    colour_transfer: Optional[str] = None
    variations: int = 1               # pictures that differ in their noise
    live: bool = False                # painted while somebody draws: shown, not filed

    def names(self):
        """The names that key the variations' noise."""
        return [self.name] + [f"{self.name}-{n}" for n in range(2, self.variations + 1)]

    def only(self, name):
        """The same for one variation, as a recipe keeps it."""
        return {**asdict(self), "name": name, "variations": 1}


def asked(value, presets):
    """An Asked from the page's JSON. presets: {id: studio.painter.Preset}. Raises UserError with a line for every problem."""
    if not isinstance(value, dict):
        raise UserError(f"request: found a JSON {type(value).__name__}, expected an object")
    problems = [f"request: {name[:40]!r} is not an option" for name in value if name not in Asked.__dataclass_fields__]
    whole = lambda low, high: lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v <= high
    real = lambda v: isinstance(v, (int, float)) and not isinstance(v, bool) and 1 <= v <= 20
    known = isinstance(value.get("preset"), str) and value["preset"] in presets
    most = len(presets[value["preset"]].rounds) if known else 1
    rules = {
        "style": (lambda v: isinstance(v, str) and bool(NAME.fullmatch(v)), "an id", False),
        "preset": (lambda v: known, " or ".join(presets), False),
        "name": (lambda v: isinstance(v, str) and bool(NAME.fullmatch(v)), "letters, digits, _ . and -, at most 64", False),
        "seed": (whole(0, 2 ** 31 - 1), "0 to 2147483647", False),
        "strength": (whole(1, 999), "1 to 999", True),
        "rounds": (whole(1, most), f"1 to {most}", True),
        "guidance": (real, "1 to 20", True),
        "colour_transfer": (lambda v: isinstance(v, str) and v in TRANSFERS, " or ".join(TRANSFERS), True),
        "variations": (whole(1, VARIATIONS), f"1 to {VARIATIONS}", False),
        "live": (lambda v: isinstance(v, bool), "true or false", False)}
    for name, (right, expected, optional) in rules.items():
        given = value.get(name, getattr(Asked, name, None))
        if not (optional and given is None) and not right(given):
            problems.append(f"request: {name} is {str(given)[:40]!r}, expected {expected}")
    if problems:
        raise UserError(problems)
    return Asked(**value)
