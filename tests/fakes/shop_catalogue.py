"""A small catalogue of invented products, in the form of the original's files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

SHADES = [f"shade {number:02d}" for number in range(60)]


def item(asin: str, name: str, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "asin": asin,
        "name": name,
        "full_description": "",
        "small_description": ["A fine thing "],
        "pricing": "$20.0",
        "customization_options": "",
        "category": "garden",
        "query": "Lamps ",
        "product_category": "Home \u203a Light \u203a Lamps",
    }
    return values | changes


def choices(*values: str) -> list[dict[str, str]]:
    return [{"value": value} for value in values]


ITEMS = [
    item(
        "B000000001",
        "Brass Desk Lamp",
        full_description="Warm light.\nMade of brass.",
        small_description=["Dimmable ", "", "Energy saving "],
        pricing="$15.5 to $25.25",
        customization_options={
            "Size": choices("Small", "Large"),
            "Color": choices("Red", "Black/White", "[odd]"),
        },
    ),
    item("B000000002", "Paper Lamp", query="lamps", pricing=""),
    item(
        "B000000003",
        "Wool Socks",
        customization_options={"Color": choices(*SHADES), "Fit": None},
        category="fashion",
        query="socks",
        product_category="Clothing \u203a Socks",
        pricing="$980.0",
    ),
    item("B000000001", "A double of the first"),
    item("nan", "No product at all"),
    *(
        item(f"B00000001{n}", f"Garden Stool {n}", query="stools", small_description="One line")
        for n in range(10)
    ),
    *(item(f"B0000001{n:02d}", f"Steel Bench {n}", query="benches") for n in range(40)),
]

NOTES = {
    "B000000001": {
        "attributes": ["energy saving", "brass"],
        "instruction": "Find me energy saving lamps",
        "instruction_attributes": ["energy saving"],
    },
    "B000000002": {"attributes": []},
    "B000000003": {
        "attributes": ["soft wool"],
        "instruction": "Find me socks",
        "instruction_attributes": ["soft wool"],
    },
}

HUMAN = {
    "B000000003": [
        {"instruction": "warm socks.", "instruction_attributes": [], "instruction_options": []},
        {
            "instruction": "i need soft socks, shade 07..",
            "instruction_attributes": ["soft wool"],
            "instruction_options": ["shade 07"],
        },
    ],
    "B000000009": [
        {"instruction": "gone", "instruction_attributes": ["x"], "instruction_options": []}
    ],
}


def write_data(folder: Path) -> Path:
    """Writes the files of both small levels to folder/webshop and returns that."""
    data = folder / "webshop"
    data.mkdir(parents=True)
    (data / "items_shuffle_1000.json").write_text(json.dumps(ITEMS))
    (data / "items_ins_v2_1000.json").write_text(json.dumps(NOTES))
    (data / "items_human_ins.json").write_text(json.dumps(HUMAN))
    with gzip.open(data / "title_nouns.jsonl.gz", "wt") as file:
        for product in ITEMS:
            row = {"asin": product["asin"], "nouns": product["name"].lower().split()}
            file.write(json.dumps(row) + "\n")
    return data
