"""Changing a file of annotations: what is changed is replaced in one go, all other lines stay.

Lines that are no annotations stay, too, to be put right by whoever wrote them. Two programs should
not change one file at the same moment; people who annotate at the same time take a file each.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from amp.annotations.base import (
    Annotation,
    Place,
    annotation_from_json,
    annotation_to_json,
    parse_annotations,
    read_text,
    replace_text,
)


def add_annotations(path: Path, annotations: Iterable[Annotation]) -> int:
    """Adds the annotations that the file does not hold yet, in their order; makes it if need be.

    Returns:
        How many were added.

    Raises:
        InvalidInputError: if the file cannot be read or written.
    """
    text = read_text(path) if path.exists() else ""
    if text and not text.endswith("\n"):
        text += "\n"
    known = set(parse_annotations(text).good)
    new = [annotation for annotation in dict.fromkeys(annotations) if annotation not in known]
    replace_text(path, text + "".join(annotation_to_json(a) + "\n" for a in new))
    return len(new)


def remove_annotations(path: Path, by: str, place: Place) -> None:
    """Removes all that one author said about one step.

    Raises:
        InvalidInputError: if the file cannot be read or written.
    """

    def stays(line: str) -> bool:
        try:
            annotation = annotation_from_json(line)
        except ValueError:
            return True
        return (annotation.by, annotation.place) != (by, place)

    lines = read_text(path).split("\n")
    replace_text(path, "\n".join(line for line in lines if stays(line)))
