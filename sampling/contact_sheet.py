"""What a person looks at first after a run: some masks with their references and results, and the style similarity of all."""
import numpy as np

from data.landscape import read_image, read_labels
from evaluation.metrics.style import style_similarity
from runtime import pictures

SHOWN = 8         # masks on the sheet


def write_contact_sheet(path, cases, results, height, width):
    """Writes the picture; returns S of every result to its reference, averaged, in percent."""
    rows, similarity = [], []
    for i, case in enumerate(cases):
        image, reference = (read_image(file, height, width) for file in (results.path(case.stem), case.reference))
        similarity.append(style_similarity(image, reference))
        if i < SHOWN:
            rows.append([pictures.colour_labels(read_labels(case.mask, height, width)), reference, image])
    pictures.save(path, pictures.grid(rows, captions=["mask", "reference", "result"]))
    return 100 * float(np.mean(similarity))
