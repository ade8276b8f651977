"""What a person looks at first after a run: some masks, references and results, and how alike all of them are."""
import numpy as np

from configs.classes import CHALLENGE
from data.landscape import read_image, read_labels
from evaluation.metrics.style import style_similarity
from runtime import pictures

SHOWN = 8         # masks on the sheet


def write_contact_sheet(cases, results, height, width, classes=CHALLENGE):
    """Writes contact_sheet.png beside the results, a Submission's; returns their S, averaged, in percent."""
    rows, similarity = [], []
    for i, case in enumerate(cases):
        image = read_image(results.path(case.stem), height, width)
        reference = read_image(case.reference, height, width)
        similarity.append(style_similarity(image, reference))
        if i < SHOWN:
            labels = read_labels(case.mask, height, width, classes)
            rows.append([pictures.colour_labels(labels, classes.colours), reference, image])
    picture = pictures.grid(rows, captions=["mask", "reference", "result"])
    pictures.save(results.folder / "contact_sheet.png", picture)
    return 100 * float(np.mean(similarity))
