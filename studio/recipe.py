"""A recipe: everything a picture depends on, as JSON, in the picture's own metadata too; test.py paints it again from that.

    python -m studio.recipe studio-results/20260102-030405.jpg --output again

writes a folder that test.py reads (the mask, the style picture, the settings) and says the command.
"""
import argparse
import base64
import io
import json
import shlex
from pathlib import Path

from PIL import Image

from data.images import open_image
from data.landscape import TABLE
from runtime.documents import parse_json
from runtime.errors import UserError, run_script
from runtime.files import write_bytes, write_json

FORMAT = "iidm studio recipe 1"
COMMENT = 65_533                      # bytes that a JPEG comment holds
STYLES = "styles"                     # the folder of style pictures beside the results


def recipe(name, mask_png, style_id, asked, painter, sampling, output):
    """A recipe as a dict. name: the mask's stem, which keys the noise; sampling, output: as in a config."""
    return {"format": FORMAT, "mask": f"{name}.png", "reference": f"{style_id}.png", **painter.provenance(),
            "sampling": sampling, "output": output, "asked": asked, "mask_png": base64.b64encode(mask_png).decode()}


def with_comment(jpeg, text):
    """JPEG bytes with a comment segment after their first one; without it they are what they were."""
    data = text.encode()
    assert jpeg[:2] == b"\xff\xd8" and len(data) <= COMMENT, len(data)
    after = 2
    if jpeg[2:4] == b"\xff\xe0":                                       # JFIF's own header stays first
        after = 4 + int.from_bytes(jpeg[4:6], "big")
    return jpeg[:after] + b"\xff\xfe" + (len(data) + 2).to_bytes(2, "big") + data + jpeg[after:]


def comment_of(recipe_):
    """A recipe as the text that goes into the JPEG: without the mask's pixels where they do not fit."""
    text = json.dumps(recipe_, ensure_ascii=True)
    return text if len(text) <= COMMENT else json.dumps({**recipe_, "mask_png": None})


def read(path):
    """The recipe in a .json or a .jpg. Raises UserError where there is none."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file, expected a recipe or a picture of the studio")
    try:
        if path.suffix.lower() in (".jpg", ".jpeg"):
            with open_image(path) as picture:
                text = picture.info.get("comment", b"").decode()
        else:
            text = path.read_text(encoding="utf-8")
        found = parse_json(text)
    except (ValueError, OSError):
        found = None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise UserError(f"{path}: found no recipe, expected a .json or .jpg that the studio wrote")
    return found


def unpack(path, output, style=None):
    """Writes output/{labels,imgs}/, label_to_img.json and settings.yaml for test.py -> the arguments to call it with.

    style: the style picture's file, where it does not lie in styles/ beside the recipe.
    """
    found, output, beside = read(path), Path(output), Path(path).parent
    mask = beside / f"{Path(path).stem}.png"
    mask_png = base64.b64decode(found["mask_png"]) if found.get("mask_png") else mask.read_bytes() if mask.is_file() else None
    style = Path(style) if style else beside / STYLES / found["reference"]
    problems = []
    for name in ("mask", "reference"):
        if Path(found[name]).name != found[name]:
            problems.append(f"{path}: found {name} {found[name]!r}, expected a file's name")
    if mask_png is None:
        problems.append(f"{path}: the mask is not in it, expected {mask}")
    if not style.is_file():
        problems.append(f"{style}: no such file, expected the style picture; --style names it")
    if problems:
        raise UserError(problems)
    write_bytes(output / "labels" / found["mask"], mask_png)
    write_bytes(output / "imgs" / found["reference"], style.read_bytes())
    write_json(output / TABLE, {found["mask"]: found["reference"]})
    write_json(output / "settings.yaml", {"sampling": found["sampling"], "output": found["output"]})   # JSON is YAML
    return ["--input_path", str(output), "--img_path", str(output), "--output_path", str(output / "results"),
            "--config", str(output / "settings.yaml"),
            "--checkpoint", found["checkpoint"], "--autoencoder", found["autoencoder"]]


def png_of(ids):
    """Class ids uint8 (H, W) as the bytes of a grey PNG, which is what data/ reads."""
    file = io.BytesIO()
    Image.fromarray(ids).save(file, format="PNG")
    return file.getvalue()


def main(argv):
    """Paints by a recipe. argv: the words after the command."""
    parser = argparse.ArgumentParser(prog="python -m studio.recipe", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="a .json or .jpg that the studio wrote")
    parser.add_argument("--output", required=True, metavar="DIR", help="the folder to write")
    parser.add_argument("--style", metavar="FILE", help="the style picture (default: the one in styles/ beside the recipe)")
    args = parser.parse_args(argv)
    print("python test.py " + shlex.join(unpack(args.recipe, args.output, args.style)))


if __name__ == "__main__":
    run_script(main)
