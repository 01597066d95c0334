"""Tells what Inspect reads in a log: FILE."""

from __future__ import annotations

import json
import sys

from inspect_ai.log import read_eval_log


def main(file: str) -> None:
    log = read_eval_log(file)
    assert log.status == "success"
    assert log.results is not None
    found = {
        "task": log.eval.task,
        "model": log.eval.model,
        "metrics": {
            f"{score.name}/{name}": metric.value
            for score in log.results.scores
            for name, metric in score.metrics.items()
        },
        "tokens": {name: usage.total_tokens for name, usage in log.stats.model_usage.items()},
        "samples": [
            {
                "id": sample.id,
                "scores": {name: score.value for name, score in (sample.scores or {}).items()},
                "tokens": sum(
                    event.output.usage.total_tokens
                    for event in sample.events
                    if event.event == "model" and event.output.usage
                ),
                "steps": [
                    [event.metadata["action"], event.metadata["complexity"]]
                    for event in sample.events
                    if event.event == "span_begin"
                ],
                "depths": [
                    event.data["allocation"]["depth"]
                    for event in sample.events
                    if event.event == "info" and "allocation" in event.data
                ],
                "tools": [event.function for event in sample.events if event.event == "tool"],
                "messages": len(sample.messages),
            }
            for sample in log.samples or []
        ],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
