"""How long a model takes on this machine, and what an allocation will cost on it (spec 4.3).

A profile is a law with few numbers: how fast a model reads and writes is measured, the numbers are
fitted (`amp.profiling`), and they are kept in the user's cache, one file a model and machine.
"""

from __future__ import annotations

import json
import os
import platform
import re
from bisect import bisect_right
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from amp.cost import attended, dollars, flops
from amp.errors import InvalidInputError, MissingDependencyError
from amp.files import replace_file
from amp.models.base import ModelCard
from amp.types import Allocation, Usage

_SELF_CHECKS = 3
"""Verification asks about so many different actions at most."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One call and how long it took.

    Attributes:
        n: samples made side by side.
        prompt_tokens: tokens of the prompt.
        cached_prompt_tokens: those of them found in a cache.
        completion_tokens: tokens generated, over all samples.
        longest_completion: tokens of the longest sample, which the others wait for.
        seconds: time inside the model.
    """

    n: int
    prompt_tokens: int
    cached_prompt_tokens: int
    completion_tokens: int
    longest_completion: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Profile:
    """What a call takes on one machine.

    seconds = call + prompt_token * fresh prompt tokens + prompt_pair * their pairs
              + step(n) * completion tokens / n + completion_pair * their pairs

    Pairs are those of a token and one that it attends to (`amp.cost.attended`). step(n) is the time
    in which each of n samples made side by side gets one token more; it never falls with n.

    Attributes:
        model: name on the model's card.
        sha256: hash of its weights; empty behind an API.
        machine: name of the processor.
        threads: threads that a local model uses.
        call_seconds: a call's overhead.
        prompt_token_seconds: a prompt token that is not in a cache.
        prompt_pair_seconds: a pair of such a token.
        completion_pair_seconds: a pair of a generated token.
        batches: the n that were measured, rising.
        step_seconds: step(n) for each of them.
        error: root mean square of the relative errors of the fit; 0.1 is 10 %.
        measurements: what it was fitted to.
    """

    model: str
    sha256: str
    machine: str
    threads: int
    call_seconds: float
    prompt_token_seconds: float
    prompt_pair_seconds: float
    completion_pair_seconds: float
    batches: tuple[int, ...]
    step_seconds: tuple[float, ...]
    error: float
    measurements: tuple[Measurement, ...]

    def seconds(
        self,
        prompt_tokens: float,
        completion_tokens: float,
        n: int = 1,
        cached_prompt_tokens: float = 0.0,
        beside: int = 0,
    ) -> float:
        """Time of one call.

        What others have made at the same time is taken to be alike: their samples are steps side by
        side with these, and while a prompt is read each of them waits for its turn.

        Args:
            prompt_tokens: tokens of the prompt, cached ones included.
            completion_tokens: tokens generated, over all samples.
            n: samples made side by side.
            cached_prompt_tokens: prompt tokens found in a cache.
            beside: samples that the machine makes for other calls at the same time.
        """
        fresh = prompt_tokens - cached_prompt_tokens
        length, side_by_side = completion_tokens / n, n + beside
        return (
            self.call_seconds
            + (1 + beside) * self.prompt_token_seconds * fresh
            + (1 + beside) * self.prompt_pair_seconds * attended(cached_prompt_tokens, fresh)
            + self.completion_pair_seconds * side_by_side * attended(prompt_tokens, length)
            + self.step(side_by_side) * length
        )

    def step(self, n: int) -> float:
        """Seconds in which each of n samples gets one token: linear between the measured batches.

        Beyond the largest batch the samples wait for each other: the time grows in proportion.
        """
        after = bisect_right(self.batches, n)
        if after == 0:
            return self.step_seconds[0]
        low, low_seconds = self.batches[after - 1], self.step_seconds[after - 1]
        if after == len(self.batches):
            return low_seconds * n / low
        share = (n - low) / (self.batches[after] - low)
        return low_seconds + share * (self.step_seconds[after] - low_seconds)

    def save(self, directory: Path | None = None) -> Path:
        """Writes it into the user's cache, or the directory, and returns the file."""
        path = _file(self.model, self.sha256, self.machine, self.threads, directory)
        replace_file(path, (json.dumps(asdict(self), indent=1) + "\n").encode())
        return path


def profile_file(
    card: ModelCard, threads: int | None = None, directory: Path | None = None
) -> Path:
    """Where the profile of a model on this machine is, or would be; as `load_profile`."""
    return _file(card.name, card.sha256, machine(), threads or cores(), directory)


def load_profile(
    card: ModelCard, threads: int | None = None, directory: Path | None = None
) -> Profile:
    """Returns the profile of a model on this machine.

    Args:
        card: the model.
        threads: threads of a local model; None for all cores.
        directory: where profiles are kept; None is the user's cache.

    Raises:
        MissingDependencyError: if there is none; says what to run.
        InvalidInputError: if the file is damaged; says what to run.
    """
    path = profile_file(card, threads, directory)
    advice = f"run: amp profile {card.name}"
    if not path.is_file():
        raise MissingDependencyError(f"no profile of {card.name} on this machine; {advice}")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        values["measurements"] = tuple(Measurement(**m) for m in values["measurements"])
        for name in ("batches", "step_seconds"):
            values[name] = tuple(values[name])
        return Profile(**values)
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidInputError(f"profile {path} is damaged ({error}); {advice}") from None


def find_profile(card: ModelCard, threads: int | None = None) -> Profile | None:
    """Returns the profile of a model on this machine, or None if it has not been measured.

    Raises:
        InvalidInputError: if the file is damaged; says what to run.
    """
    try:
        return load_profile(card, threads)
    except MissingDependencyError:
        return None


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long prompts and answers of a kind of task typically are, in tokens.

    Attributes:
        prompt_tokens: the prompt of a step, the state included.
        answer_tokens: an answer without reasoning; what names a listed action is one token.
        thought_tokens: one reasoning step of `Allocation.depth`.
    """

    prompt_tokens: int
    answer_tokens: int
    thought_tokens: int


@dataclass(frozen=True, slots=True)
class CostModel:
    """What allocations are expected to cost on one model, for one kind of task.

    Attributes:
        card: the model, for FLOPs and dollars.
        lengths: typical lengths of this kind of task.
        profile: the model on this machine; without one, seconds are 0.
        beside: samples that the machine makes for others at the same time, which takes longer.
    """

    card: ModelCard
    lengths: Lengths
    profile: Profile | None = None
    beside: int = 0

    def expected(
        self, allocation: Allocation, *, prompt_tokens: int | None = None, choice: bool = False
    ) -> Usage:
        """Returns what one round with an allocation is expected to cost.

        Nothing is taken to be in a cache and every candidate to name an action of its own, so this
        is on the high side. It never falls with depth, beam width or verification. The time of
        tools is left out; they work outside the model.

        Args:
            allocation: what the round may spend.
            prompt_tokens: length of the step's prompt; None for the typical one.
            choice: whether the step has listed actions: then only thoughts are written, and an
                action is one token read from probabilities.
        """
        n = 1 if allocation.temperature == 0.0 else allocation.beam_width
        prompt = self.lengths.prompt_tokens if prompt_tokens is None else prompt_tokens
        answer = self.lengths.answer_tokens
        thought = allocation.depth * self.lengths.thought_tokens
        if not choice:
            requests = [(prompt, thought + answer, n)]
        elif thought:
            requests = [(prompt, thought, n)] + [(prompt + thought, 1, 1)] * n
        else:
            requests = [(prompt, 1, 1)]
        check = (prompt + thought + answer, 1, 1)
        if allocation.verification >= 2:
            requests += [check] * min(n, _SELF_CHECKS)
        if allocation.verification >= 3:  # a critique, one attempt in its light, and its check
            critique = (prompt + thought + answer, answer, 1)
            retried = prompt + thought + 2 * answer
            requests += [critique, (retried, 1 if choice else thought + answer, 1), check]
        return sum((self._request(*request) for request in requests), Usage())

    def _request(self, prompt_tokens: int, length: int, n: int) -> Usage:
        samples = [Usage(model_calls=1, prompt_tokens=prompt_tokens, completion_tokens=length)]
        samples += [Usage(completion_tokens=length)] * (n - 1)
        usage = sum(samples, Usage())
        seconds = (
            self.profile.seconds(prompt_tokens, n * length, n, beside=self.beside)
            if self.profile
            else 0.0
        )
        return replace(
            usage,
            flops=flops(samples, self.card),
            dollars=dollars(usage, self.card),
            seconds=seconds,
        )


def machine() -> str:
    """Returns the name of this machine's processor."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    named = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return named.group(1).strip() if named else platform.processor() or platform.machine()


def cores() -> int:
    """Returns the number of this machine's cores."""
    return os.cpu_count() or 1


def _file(model: str, sha256: str, processor: str, threads: int, directory: Path | None) -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    where = directory or Path(cache).expanduser() / "amp" / "profiles"
    parts = (model, sha256[:12] or "api", processor, f"{threads}-threads")
    return where / ("_".join(re.sub(r"[^\w.]+", "-", part) for part in parts) + ".json")
