"""What an evaluation says: a table for people, JSON for programs, a line per image for spreadsheets."""
import csv
import io
from dataclasses import dataclass, field

from runtime.files import write_bytes, write_json

SCORES = "M", "A", "FID", "S", "T"          # the paper's Table 1


@dataclass
class Row:
    """One folder of images. `scores`: {column: Measured}, the five of SCORES and M(NAME) of a stand-in; `images`: {stem:
    {column: value in percent}} of the columns that are means over images; `details`: {column: {name: value}}."""
    name: str
    folder: str
    scores: dict
    images: dict = field(default_factory=dict)
    details: dict = field(default_factory=dict)
    seconds: float = 0.0

    def json(self):
        """{name: value}: every score with its value in percent, or null and the reason in words."""
        scores = {column: {"value": score.value, "reason": score.reason or None, **self.details.get(column, {})}
                  for column, score in self.scores.items()}
        return {"name": self.name, "folder": self.folder, "n": len(self.images), **scores, "seconds": round(self.seconds, 3)}


def columns(rows):
    """The columns of all rows: the paper's, and a stand-in's after its score."""
    found = dict.fromkeys(column for row in rows for column in row.scores)
    return sorted(found, key=lambda column: (SCORES.index(column.split("(")[0]), column))


def table(rows):
    """Text: a line per row with the scores in percent, "-" where there is none, and below it why."""
    names = columns(rows)
    cells = [["", "n", *names]]
    for row in rows:
        values = [row.scores[name].value if name in row.scores else None for name in names]
        cells.append([row.name, str(len(row.images)), *("-" if value is None else f"{value:.2f}" for value in values)])
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    lines = ["  ".join([first.ljust(widths[0]), *(text.rjust(width) for text, width in zip(others, widths[1:]))])
             for first, *others in cells]
    return "\n".join(lines + reasons(rows))


def reasons(rows):
    """A line for every score that is not there; it names its rows where others have it, or other reasons."""
    lines = []
    for column in columns(rows):
        found = {}
        for row in rows:
            if column in row.scores and row.scores[column].value is None:
                found.setdefault(row.scores[column].reason, []).append(row.name)
        for reason, names in found.items():
            where = "" if len(names) == len(rows) else f" ({', '.join(names)})"
            lines.append(f"{column} not measured{where}: {reason}")
    return lines


def document(rows, settings):
    """The JSON of an evaluation: what holds for all rows, and the rows. With a single one its scores are at the top too."""
    top = rows[0].json() if len(rows) == 1 else {}
    return {**top, **settings, "rows": [row.json() for row in rows]}


def speeds(rows):
    """A line per row: how long it took."""
    return "\n".join(f"{row.name}: {len(row.images)} images in {row.seconds:.1f} s, "
                     f"{len(row.images) / row.seconds:.2f} a second" for row in rows)


def write(path, table_path, rows, settings):
    """Writes the JSON, and with a table_path the line per image."""
    write_json(path, document(rows, settings))
    if table_path:
        write_images(table_path, rows)


def write_images(path, rows):
    """Writes a CSV with a line per row and image; the means of its columns are the rows' scores."""
    names = [column for column in columns(rows) if any(column in values for row in rows for values in row.images.values())]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "image", *names])
    for row in rows:
        for stem, values in row.images.items():
            writer.writerow([row.name, stem, *(repr(values[name]) if name in values else "" for name in names)])
    write_bytes(path, text.getvalue().encode())
