"""`amp keys`: a key is shown once, and what it spent whenever somebody asks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.fakes.command import amp

from amp.errors import InvalidInputError
from amp.serve.accounts.ledger import AccountsFile


@pytest.mark.slow
def test_a_key_is_made_used_listed_and_revoked(tmp_path: Path) -> None:
    file = tmp_path / "accounts.sqlite"
    ours = ("--accounts", file)
    token = amp("keys", "add", "ann", *ours, "--dollars-per-day", 5, "--max-concurrent", 2).strip()
    accounts = AccountsFile(file)
    accounts.settle(accounts.reserve(accounts.find(token), 0.02, 30), 0.0123, 20)
    accounts.close()
    listed = amp("keys", "list", *ours)
    assert "dollars_per_day 5, max_concurrent 2" in listed
    assert token[:12] in listed
    assert token.rsplit("-", 1)[1] not in listed + amp("keys", "list", *ours, "--json")
    assert "$0.0123" in amp("keys", "spend", "ann", *ours)
    (told,) = json.loads(amp("keys", "spend", *ours, "--json"))
    assert (told["name"], told["day"]["dollars"], told["day"]["tokens"]) == ("ann", 0.0123, 20)
    assert "ann is revoked" in amp("keys", "revoke", "ann", *ours)
    assert "revoked on" in amp("keys", "list", *ours)


@pytest.mark.slow
def test_what_is_wrong_makes_no_file(tmp_path: Path) -> None:
    file = tmp_path / "accounts.sqlite"
    for arguments, said in (
        (("add", "ann", "--dollars-per-day", "nan"), "dollars_per_day is nan, expected a number"),
        (("list",), r"no keys at .*; add one first \(amp keys add NAME\)"),
        (("revoke", "ann"), "no keys at"),
    ):
        with pytest.raises(InvalidInputError, match=said):
            amp("keys", *arguments, "--accounts", file)
    assert not file.exists()
