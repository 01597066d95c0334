"""Annotations: how hard people, or outcomes, say that plan steps are."""

from __future__ import annotations

from amp.annotations.collect import (
    Agreement,
    AnnotationItem,
    AnnotationSession,
    annotation_items,
    krippendorff_alpha,
    measure_agreement,
    reordered,
    sample_items,
)
from amp.annotations.exchange import import_annotations
from amp.annotations.store import (
    Annotation,
    Annotations,
    add_annotations,
    read_annotations,
    write_annotations,
)

__all__ = [
    "Agreement",
    "Annotation",
    "AnnotationItem",
    "AnnotationSession",
    "Annotations",
    "add_annotations",
    "annotation_items",
    "import_annotations",
    "krippendorff_alpha",
    "measure_agreement",
    "read_annotations",
    "reordered",
    "sample_items",
    "write_annotations",
]
