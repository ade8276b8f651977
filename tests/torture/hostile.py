"""Files that nobody should have to open."""
import io
import json
import os
import random
import struct
import zlib

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo


def picture(kind="PNG", mode="L", size=(64, 48), **options):
    """The bytes of a picture of any kind."""
    made = io.BytesIO()
    Image.new(mode, size).save(made, format=kind, **options)
    return made.getvalue()


def png_of(width, height):
    """A PNG that claims a size and has no pixels."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b""))


def text_bomb():
    """A PNG with 100 MB of text in 100 KB."""
    info = PngInfo()
    info.add_text("a", "x" * (100 << 20), zip=True)
    return picture(pnginfo=info)


def flipped(data, seed):
    """Bytes with a few of them changed."""
    rng, data = random.Random(seed), bytearray(data)
    for _ in range(rng.choice([1, 4, 30])):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def bad_pictures():
    """{name: bytes} of files that are no mask and no photo."""
    jpeg, png = picture("JPEG", "RGB"), picture()
    found = {"empty": b"", "text": b"hello", "zeros": b"\0" * 1000, "html": b"<html></html>",
             "half jpeg": jpeg[:len(jpeg) // 2],
             "half png": png[:len(png) // 2], "jpeg signature": b"\xff\xd8\xff", "png signature": b"\x89PNG\r\n\x1a\n",
             "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 48\n%%EndComments\nshowpage\n",
             "pdf": b"%PDF-1.4\n", "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>", "icon": picture("ICO", "RGB", (16, 16)),
             "fli": b"\0" * 4 + b"\x12\xaf" + b"\0" * 200, "text bomb": text_bomb(), "wmf": b"\xd7\xcd\xc6\x9a" + b"\0" * 40,
             "zip": b"PK\x03\x04" + b"\0" * 30, "pickle": b"cos\nsystem\n(S'touch /tmp/torture-ran'\ntR."}
    for width, height in ((0, 0), (1, 0), (20000, 20000), (2 ** 31 - 1, 2 ** 31 - 1), (1, 10 ** 9), (60000, 3000)):
        found[f"png of {width}x{height}"] = png_of(width, height)
    for cut in range(1, 7):              # the last eighth of a PNG holds no pixels
        found[f"png cut at {cut}/8"] = png[:len(png) * cut // 8]
        found[f"jpeg cut at {cut}/8"] = jpeg[:len(jpeg) * cut // 8]
    return found


def bad_masks():
    """{name: bytes} of pictures that are whole and no masks."""
    ids = lambda array: _saved(Image.fromarray(np.asarray(array, np.uint8)))
    return {"colour": picture(mode="RGB"), "palette": picture(mode="P"), "one bit": picture(mode="1"),
            "transparent": picture(mode="RGBA"), "id 29": ids(np.full((48, 64), 29)), "id 255": ids(np.full((48, 64), 255)),
            "one pixel": picture(size=(1, 1)), "two pixels": picture(size=(2, 1)), "upright": picture(size=(48, 64)),
            "square": picture(size=(64, 64)), "a line": picture(size=(64, 1)), "16 bit 300": _saved(Image.fromarray(
                np.full((48, 64), 300, np.uint16)))}


def _saved(image):
    made = io.BytesIO()
    image.save(made, format="PNG")
    return made.getvalue()


def bad_tables():
    """{name: bytes} of label_to_img.json that are none."""
    values = [[], "a", 3, None, True, {"a": 1}, {"a": None}, {"a": ["b"]}, {"a": {"b": "c"}}, {"a": ""}, {"": "b"}, {"..": "b"},
              {"../a.png": "b.jpg"}, {"/etc/passwd": "b.jpg"}, {"a/b.png": "c.jpg"}, {"a.png": "../b.jpg"},
              {"a.png": "/etc/passwd"},
              {"a.png": "b\0.jpg"}, {"a\0.png": "b.jpg"}, {"a\n\x1b[2J.png": "b.jpg"}, {"a" * 5000: "b.jpg"},
              {"a.png": "b" * 5000 + ".jpg"}, {"a.png": "none.jpg"}, {"none.png": "train_00000.jpg"}, [[[[]]]],
              {f"{i}.png": "x.jpg" for i in range(3000)}]
    found = {f"table {i}": json.dumps(value).encode() for i, value in enumerate(values)}
    found.update({"empty": b"", "binary": bytes(range(256)), "deep list": b"[" * 100000,
                  "deep object": b'{"a":' * 100000, "open": b'{"a": "b"',
                  "twice": b'{"a.png": "b.jpg", "a.png": "c.jpg"}',
                  "latin": '{"é": "b"}'.encode("latin1"),
                  "nan": b'{"a.png": NaN}', "utf-16": '{"a.png": "b.jpg"}'.encode("utf-16"),
                  "digits": b'{"a.png": ' + b"1" * 9999 + b"}",
                  "lone surrogate": b'{"\\udcff.png": "b.jpg"}', "comment": b'// a\n{"a.png": "b.jpg"}',
                  "single": b"{'a.png': 'b.jpg'}"})
    return found


def bad_yaml():
    """{name: text} of configs that are none."""
    laughs = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 8)}]\n" for i in range(10))
    return {"billion laughs": laughs, "recursion": "data: &a {cache: *a}", "deep": "data: " + "[" * 3000,
            "merge": "a: &a {<<: *a}",
            "object": "data: !!python/object/apply:os.system [ls]", "date": "data: {height: 2026-99-99}", "tab": "\tdata: 1",
            "open": "data: [1", "list": "- data", "number": "3", "text": "hello", "unknown": "daat: {}", "none": "data:",
            "control": "data: {cache: \"\\x1b[2J\"}", "line end": "data: {cache: \"a\\nb\"}", "bell": "data: \x07",
            "twice typed": "data: {height: true}", "octal": "data: {height: 0o17777777}", "sexagesimal": "data: {height: 1:30}",
            "infinity": "sampling: {autoencoder_gb: .inf}", "nan": "sampling: {spade_cache_gb: .nan}", "key": "{[a]: b}",
            "many": "data: {exclude: [" + "a," * 60000 + "]}x", "binary": "data: !!binary x",
            "documents": "---\na: 1\n---\nb: 2"}


def tampered_checkpoints(data):
    """{name: bytes} of a checkpoint of ours with other metadata, other tensors, less or other bytes."""
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    found = {}

    def again(name, change):
        copy = json.loads(json.dumps(header))
        change(copy)
        text = json.dumps(copy).encode()
        found[name] = struct.pack("<Q", len(text)) + text + data[8 + length:]

    meta = lambda key, text: lambda copy: copy["__metadata__"].update({key: text})
    for key in ("kind", "config", "step", "weights", "metrics", "parents", "extra", "format"):
        for text in ("", "null", "[]", "{}", "-1", "[" * 30000, "1e999", '"x"', "\x1b[2J", "{\"unet\": 3}"):
            if json.dumps(text) != json.dumps(header["__metadata__"].get(key)):
                again(f"{key} = {text[:12]!r}", meta(key, text))
        again(f"no {key}", lambda copy, key=key: copy["__metadata__"].pop(key))
    config = json.loads(header["__metadata__"]["config"])
    for section, option, value in (("unet", "groups", 0), ("unet", "res_blocks", 900), ("unet", "res_blocks", 60),
                                   ("unet", "channels", 8192), ("unet", "channels", -1), ("unet", "head_channels", 0),
                                   ("unet", "channel_mult", [64] * 8), ("unet", "channel_mult", []), ("unet", "classes", 0),
                                   ("unet", "spade_channels", 10 ** 9), ("diffusion", "timesteps", 10 ** 10),
                                   ("diffusion", "timesteps", 0), ("diffusion", "schedule", "x"), ("data", "height", 0),
                                   ("data", "width", 10 ** 9), ("sampling", "rounds", []), ("sampling", "rounds", [[]]),
                                   ("sampling", "seed", -1), ("unet", "channels", "32"), ("unet", "learn_sigma", 3),
                                   ("unet", "latent_channels", 999), ("autoencoder", "groups", 0), ("unet", "more", 1)):
        changed = json.loads(json.dumps(config))
        changed[section][option] = value
        again(f"{section}.{option} = {str(value)[:20]}", meta("config", json.dumps(changed)))
    names = [name for name in header if name != "__metadata__"]
    for dtype in ("BF16", "F8_E4M3", "F8_E5M2", "I32", "U32", "I64", "BOOL", "C64", "x", ""):
        again(f"type {dtype}", lambda copy, dtype=dtype: copy[names[0]].update(dtype=dtype))
    for shape in ([], [-1], [10 ** 12], [0], "x", None, [1.5], [[1]]):
        again(f"shape {shape}", lambda copy, shape=shape: copy[names[0]].update(shape=shape))
    for offsets in ([0, 0], [-1, 4], [4, 0], [0, 10 ** 15], None, "x"):
        again(f"offsets {offsets}", lambda copy, offsets=offsets: copy[names[0]].update(data_offsets=offsets))
    again("a tensor less", lambda copy: copy.pop(names[0]))
    again("a name with line ends", lambda copy: copy.update({"a\n\x1b[2J": copy.pop(names[0])}))
    for cut in (0, 1, 7, 8, 9, 100, length, length + 8, len(data) // 2, len(data) - 1):
        found[f"cut at {cut}"] = data[:cut]
    for claimed in (0, 1, 2 ** 63, 2 ** 64 - 1, length - 1, length + 1):
        found[f"a header of {claimed}"] = struct.pack("<Q", claimed) + data[8:]
    for value in (np.nan, np.inf, -np.inf):
        block = np.full(64, value, "<f4").tobytes()
        found[f"values {value}"] = data[:8 + length] + block + data[8 + length + len(block):]
    for seed in range(40):
        found[f"header bytes changed, {seed}"] = data[:8] + flipped(data[8:8 + length], seed) + data[8 + length:]
    found["one more byte"] = data + b"\0"
    return found


def link_loop(path):
    """A link to itself."""
    os.symlink(path, path)
