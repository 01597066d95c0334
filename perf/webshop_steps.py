"""Speed of the web shop: steps a CPU-second with searches, and what building a catalogue takes.

python -m perf.webshop_steps [PRODUCTS]

Without data of WebShop the steps are done in a catalogue of 1,000 invented products. With PRODUCTS
a catalogue of so many invented products is built, too.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from amp.benchmarks.download import find_data
from amp.benchmarks.webshop.environment import WebShopEnvironment
from amp.benchmarks.webshop.goals import TitleNouns, draw_prices, shuffled, synthetic_goals
from amp.benchmarks.webshop.products import Catalogue, build
from amp.benchmarks.webshop.shop import Shop, load_shop
from amp.errors import MissingDependencyError
from amp.types import Task

PROMISED = 190.0
"""Steps a CPU-second: ten times those that the original makes."""

_STEPS = 4_000
_MAX_STEPS_AN_EPISODE = 15
_SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvwz" for vowel in "aeiou"]
_VOCABULARY = 40_000


def steps_a_cpu_second(shop: Shop, level: str = "small", seed: int = 0) -> float:
    """How fast a random customer walks, a third of the steps being searches for random words."""
    rng = random.Random(seed)
    environment = WebShopEnvironment(shop, level)
    steps = 0
    begin = time.process_time()
    while steps < _STEPS:
        number = rng.randrange(len(shop.goals))
        goal = shop.goals[number].instruction
        observation = environment.reset(Task(f"webshop/{level}/{number}", goal))
        for _ in range(_MAX_STEPS_AN_EPISODE):
            if observation.actions is None or rng.random() < 0.2:
                words = goal.split()
                query = " ".join(rng.choices(words, k=rng.randint(1, 12)))
                action = f"search[{query.translate({91: None, 93: None})}]"
            else:
                action = rng.choice(observation.actions)
            transition = environment.step(action)
            observation, steps = transition.observation, steps + 1
            if transition.done:
                break
    return steps / (time.process_time() - begin)


def write_catalogue(folder: Path, products: int, seed: int = 0) -> tuple[Path, Path]:
    """Writes invented products, about as long as those of the data set, and their instructions."""
    rng = random.Random(seed)
    vocabulary = ["".join(rng.choices(_SYLLABLES, k=rng.randint(1, 4))) for _ in range(_VOCABULARY)]
    weights = [1.0 / rank for rank in range(1, _VOCABULARY + 1)]
    drawn = rng.choices(vocabulary, weights, k=1_000_000)

    def words(count: int) -> list[str]:
        begin = rng.randrange(len(drawn) - count)
        return drawn[begin : begin + count]

    def records() -> Iterator[tuple[Mapping[str, object], Mapping[str, object]]]:
        for number in range(products):
            colours = [{"value": word} for word in words(rng.randint(0, 6))]
            record = {
                "asin": f"B{number:09d}",
                "name": " ".join(words(16)).title(),
                "full_description": " ".join(words(60)),
                "small_description": [" ".join(words(16)) for _ in range(5)],
                "pricing": f"${rng.randint(1, 99)}.99" if number % 10 else "$5.5 to $9.99",
                "customization_options": {"Color": colours, "Size": None} if colours else "",
                "category": "garden",
                "query": " ".join(words(2)),
                "product_category": "Home \u203a Garden \u203a Tools",
            }
            wanted = words(2)
            note = {
                "attributes": [*wanted, *words(3)],
                "instruction": f"Find me {' '.join(words(3))} with {', '.join(wanted)}",
                "instruction_attributes": wanted,
            }
            yield record, note

    paths = folder / "items_shuffle.json", folder / "items_ins_v2.json"
    with paths[0].open("w") as items, paths[1].open("w") as notes:
        items.write("[")
        notes.write("{")
        for number, (record, note) in enumerate(records()):
            comma = ", " if number else ""
            items.write(comma + json.dumps(record))
            notes.write(f"{comma}{json.dumps(record['asin'])}: {json.dumps(note)}")
        items.write("]")
        notes.write("}")
    return paths


def invented_shop(folder: Path, products: int) -> Shop:
    """A shop of invented products whose titles have no nouns but their first words."""
    path = folder / "catalogue.sqlite"
    build(*write_catalogue(folder, products), path)
    catalogue = Catalogue(path)
    rng = random.Random(0)
    prices = draw_prices(catalogue, rng)
    titles = (catalogue.product(number) for number in range(catalogue.size))
    nouns = TitleNouns({p.asin: tuple(p.title.lower().split()[:3]) for p in titles})
    return Shop(catalogue, prices, shuffled(synthetic_goals(catalogue, prices, rng)), nouns)


def report_building(products: int) -> None:
    """Prints time, memory and size of building a catalogue, and the time of searches in it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_catalogue(folder, products)
        before = _memory_mib()
        path = folder / "catalogue.sqlite"
        begin = time.process_time()
        build(*files, path)
        seconds = time.process_time() - begin
        sizes = [os.path.getsize(file) / 2**20 for file in (*files, path)]
        print(f"{products} products, files of {sizes[0]:.0f} and {sizes[1]:.0f} MiB")
        print(f"built in {seconds * 1e5 / products:.1f} CPU-seconds per 100,000 products")
        print(
            f"{sizes[2]:.0f} MiB on disk; memory rose from {before:.0f} to {_memory_mib():.0f} MiB"
        )
        begin = time.process_time()
        catalogue = Catalogue(path)
        print(f"opened in {time.process_time() - begin:.2f} CPU-seconds")
        rng = random.Random(1)
        queries = [catalogue.product(rng.randrange(catalogue.size)).title for _ in range(500)]
        begin = time.process_time()
        for query in queries:
            catalogue.search(query, 50)
        milliseconds = 1e3 * (time.process_time() - begin) / len(queries)
        print(f"{milliseconds:.1f} CPU-milliseconds a search of 16 words")
        print(f"{_memory_mib():.0f} MiB after {len(queries)} searches")


def _memory_mib() -> float:
    """The most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    try:
        speed = steps_a_cpu_second(load_shop(find_data("webshop").absolute(), "small"))
        where = "the 1,000 products of the data set"
    except MissingDependencyError:
        with tempfile.TemporaryDirectory() as name:
            speed = steps_a_cpu_second(invented_shop(Path(name), 1_000))
        where = "1,000 invented products"
    print(f"{speed:.0f} steps a CPU-second with {where} (promised {PROMISED:.0f})")
    if len(sys.argv) > 1:
        report_building(int(sys.argv[1]))
    return 0 if speed >= PROMISED else 1


if __name__ == "__main__":
    sys.exit(main())
