"""Section [serve] of amp.toml: what it says, what its options say instead, and what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from amp.errors import InvalidInputError
from amp.serve.config import ServeConfig, read_section
from amp.serve.upstreams.fleet import Fleet, Route
from amp.serve.upstreams.upstream import UpstreamConfig
from amp.settings import Settings, load_toml

ALL = """
model = "smollm2-135m"

[serve]
host = "0.0.0.0"
accounts = "keys.sqlite"
max_request_mb = 1.5
retries = 4

[serve.upstreams.openai]
url = "https://api.openai.com/v1"
key_env = "OPENAI_KEY"
models = ["gpt-*"]
prices = "dear.toml"

[serve.upstreams.own]
url = "http://127.0.0.1:8000"
timeout_seconds = 20
free = true
rename = {"amp/cheap" = "qwen", "gpt-5.4" = "q"}

[[serve.routes]]
model = "amp/cheap"
upstreams = ["own", "openai"]
policy = "policies/mine.npz"
arms = ["qwen", "gpt-5.4-mini@low"]

[[serve.routes]]
model = "*"
policy = "rules"
"""


def told(folder: Path, text: str, **options: Any) -> ServeConfig:
    file = folder / "amp.toml"
    file.write_text(text)
    load_toml(Settings, file)  # the rest of the file is not disturbed
    return read_section(file, options).config(Settings())


def test_everything_that_may_be_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_KEY", "sk-0123456789 ")
    config = told(tmp_path, ALL)
    openai, own = config.upstreams
    assert (openai.name, openai.key, openai.models) == ("openai", "sk-0123456789", ("gpt-*",))
    assert openai.prices == tmp_path / "dear.toml"
    assert (own.name, own.key, own.passes_keys, own.is_free) == ("own", "", False, True)
    assert own.timeout_seconds == 20
    assert own.rename == {"amp/cheap": "qwen", "gpt-5.4": "q"}
    policy = str(tmp_path / "policies/mine.npz")
    assert list(config.routes) == [
        Route("amp/cheap", ("own", "openai"), policy, ("qwen", "gpt-5.4-mini@low")),
        Route("*", policy="rules"),
        Route(policy="pass"),
    ]
    assert (config.bounds.request_bytes, config.bounds.local_only) == (1_500_000, False)
    assert (config.patience.retries, config.port) == (4, 8080)


def test_options_count_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_KEY", "sk-0123456789")
    config = told(tmp_path, ALL, port=9, retries=0, host="127.0.0.1")
    assert (config.port, config.patience.retries) == (9, 0)
    assert config.bounds.local_only
    assert [each.name for each in config.upstreams] == ["openai", "own"]


@pytest.mark.parametrize(
    ("upstreams", "accounts", "passes"),
    [(1, "", [True]), (2, "", [False, False]), (1, 'accounts = "a.sqlite"', [False])],
)
def test_clients_keys_reach_an_upstream_only_where_there_is_but_one(
    tmp_path: Path, upstreams: int, accounts: str, passes: list[bool]
) -> None:
    each = "".join(
        f'[serve.upstreams.u{number}]\nurl = "http://127.0.0.1:9"\n' for number in range(upstreams)
    )
    config = told(tmp_path, f"[serve]\n{accounts}\n{each}")
    assert [one.passes_keys for one in config.upstreams] == passes


def test_nothing_said_is_nothing_behind(tmp_path: Path) -> None:
    assert list(told(tmp_path, "").upstreams) == []
    assert read_section(None, {}).port == 8080


URL = 'url = "http://127.0.0.1:9"'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "[serve]\naccounts = 'redis://:secret1@h'",
            "serve.accounts: the address holds a password",
        ),
        (
            "accounts = 'redis://:secret1@h'",
            "accounts: the address holds a password, expected none",
        ),
        (
            "[serve]\naccounts = 'redis://h'\ntraffic = 't.sqlite'\nshadow = 0.1",
            "shadow is paid from a file of accounts, but these are in Redis",
        ),
        (
            "[serve]\nshadow = 0.1",
            "serve: shadow needs a file to keep it in, but traffic names none",
        ),
        (
            "[serve]\noperator = 'boss'",
            "serve: operator is 'boss', expected none where no key is needed; name the place",
        ),
        ('[serve]\ntraffic = "t\\u0000"', "serve.traffic: it holds a NUL, expected a path"),
        ('[serve]\naccounts = "a\\u0000"', "serve.accounts: it holds a NUL"),
        ('[serve]\npolicy = "a\\u0000"', "serve.policy: it holds a NUL"),
        ("[serve]\nprot = 1", "unknown key 'serve.prot'; did you mean 'port'"),
        ("[serve]\nport = 0", "serve.port is 0, expected at least 1"),
        ("[serve]\nretries = true", "serve.retries is True, expected a whole number"),
        ("[serve]\ndrain_seconds = 1.5", "serve.drain_seconds is 1.5, expected a whole number"),
        ("[serve]\nupstreams = 3", "serve.upstreams is 3, expected a table"),
        ("[serve.upstreams.a]", "serve.upstreams.a.url is missing"),
        ("[serve.upstreams.a]\nurl = 'x'", "serve.upstreams.a.url: "),
        (
            "[serve.upstreams.a]\nurl = 'https://me:secret1@h.example'",
            "serve.upstreams.a.url: the address holds a key or a login, expected none in a file",
        ),
        ("[serve.upstreams.a]\nurl = 'https://h.example?key=secret1'", "expected none in a file"),
        (
            f"[serve.upstreams.a]\n{URL}\nkey = 'sk-1'",
            "unknown key 'serve.upstreams.a.key'; did you mean 'key_env'",
        ),
        (
            f"[serve.upstreams.a]\n{URL}\napi = 'openay'",
            "serve.upstreams.a.api is 'openay', expected 'openai', 'anthropic', ",
        ),
        (
            f"[serve.upstreams.a]\n{URL}\ntimeout_seconds = -1",
            "serve.upstreams.a.timeout_seconds is -1, expected more than 0",
        ),
        (f"[serve.upstreams.a]\n{URL}\nkey_env = 'NO_SUCH'", "variable NO_SUCH is not set"),
        (f"[serve.upstreams.'a b']\n{URL}", "an upstream is called 'a b', expected letters"),
        (
            f"[serve.upstreams.spare]\n{URL}\n[[serve.routes]]\nmodel='m'\nupstreams=['spar']",
            "serve: routes.0.upstreams names 'spar'; did you mean 'spare'? (upstreams: spare)",
        ),
        ("[[serve.routes]]\nmodle = 'm'", "unknown key 'serve.routes.0.modle'; did you mean 'mod"),
        (
            "[[serve.routes]]\nmodel = 'm'\narms = ['m@hihg']",
            "serve.routes.0.arms.0: unknown effort 'hihg'; did you mean 'high'",
        ),
        (
            f"[serve]\naccounts = 'a'\n[serve.upstreams.a]\n{URL}\npasses_keys = true",
            "serve: upstreams.a.passes_keys is true, expected false where there are accounts",
        ),
        (
            "[[serve.routes]]\nmodel = 'm'\nsamples = 17",
            "serve.routes.0.samples is 17, expected at most 16",
        ),
    ],
)
def test_what_is_wrong_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, complaint: str
) -> None:
    monkeypatch.delenv("NO_SUCH", raising=False)
    with pytest.raises(InvalidInputError) as refused:
        told(tmp_path, text)
    said = str(refused.value)
    assert complaint in said
    assert "secret1" not in said
    assert "\n" not in said


def test_wrong_prices_are_said_before_the_first_call(tmp_path: Path) -> None:
    wrong = tmp_path / "prices.toml"
    wrong.write_text("[openai]\nm = { prompt = -1, completion = 2 }\n")
    upstream = UpstreamConfig("https://h.example/v1", prices=wrong)
    with pytest.raises(InvalidInputError, match=r"openai\.m\.prompt is -1, expected at least 0"):
        Fleet([upstream])
