"""Keys and passwords: cleaned when they are read, and hidden in everything that goes out.

Servers and libraries like to repeat a key: as it is, in quotes with escapes, percent-encoded, in
base64. So a secret is looked for in all of these forms, mixed ones among them, and not only as the
text that it is.

NOT covered: a secret that is torn into pieces, and one that a server encrypts or hashes.
"""

from __future__ import annotations

import base64
import html
import logging
import re
from collections.abc import Iterable
from urllib.parse import unquote
from urllib.request import getproxies

from amp.errors import InvalidInputError

HIDDEN = "[key]"

SHORTEST = 8
"""Characters. Whatever is shorter is a word that messages need, and no secret."""

DUMMIES = {"lm-studio", "no-key-needed", "no-key-required", "not-needed", "sk-no-key-required"}
"""Words of eight characters and more that stand where a server needs no key."""

_LONG = 12
# A longer one is recognised by its beginning, as the pattern grows with every character.
_COMPARED = 64
_REST = r"[\w\-.~+/=%\\&#;]*"


def clean_key(key: str, name: str) -> str:
    """Returns a key without the white space around it, which files and clipboards add.

    Args:
        key: as it was read.
        name: where it comes from, for the error.

    Raises:
        InvalidInputError: if it holds a character that no key has; never shows the key.
    """
    key = key.strip().strip("\ufeff").strip()
    for position, character in enumerate(key, start=1):
        if character.isascii() and character.isprintable():
            continue
        kind = "a line break" if character in "\r\n" else f"U+{ord(character):04X}"
        raise InvalidInputError(
            f"{name} holds {kind} at character {position} of {len(key)}, expected printable ASCII;"
            " copy the key again"
        )
    return key


class Secrets(logging.Filter):
    """Hides secrets in texts, and as a filter in the log.

    Args:
        keys: what may be secret; words that stand for no key are left out.
        passwords: hidden also if they are shorter, as words of their own.
    """

    def __init__(self, keys: Iterable[str], passwords: Iterable[str] = ()) -> None:
        super().__init__()
        forms: list[str] = []
        begins: set[str] = set()
        always = set(passwords)
        for secret in {*keys, *always}:
            if len(secret) >= SHORTEST and secret.lower() not in DUMMIES:
                forms += _forms(secret) + _inside_base64(secret)
            elif secret in always and secret:
                forms += [rf"(?<!\w){form}(?!\w)" for form in _forms(secret)]
            else:
                continue
            begins |= _begins(secret)
        # Most characters begin no secret, which is found out at once, not form by form.
        begin = f"(?=[{re.escape(''.join(sorted(begins)))}])"
        self._pattern = (
            re.compile(f"{begin}(?:{'|'.join(forms)})", re.IGNORECASE) if forms else None
        )

    def hide(self, text: str) -> str:
        """Returns the text with a mark in place of every secret."""
        return self._pattern.sub(HIDDEN, text) if self._pattern else text

    def occur(self, text: str) -> bool:
        """Whether the text holds a secret."""
        return bool(self._pattern and self._pattern.search(text))

    def __eq__(self, other: object) -> bool:
        """A logger keeps only one of equal filters."""
        return isinstance(other, Secrets) and self._pattern == other._pattern

    def __hash__(self) -> int:
        return hash(self._pattern)

    def filter(self, record: logging.LogRecord) -> bool:
        """Hides the secrets of a record; every record passes."""
        message = record.getMessage()
        if self.occur(message):
            record.msg, record.args = self.hide(message), ()
        return True


def login_secrets(login: str) -> tuple[list[str], list[str]]:
    """Returns what is secret in the login of an address, as `Secrets` wants it.

    A token often stands in the place of the user, alone or beside a password that stands for none.

    Args:
        login: ``user:password`` as the address has it, without the ``@``.

    Returns:
        What is hidden if it is long, and what is hidden always: also as the header sends it, and as
        a server reads it that knows only Latin-1.
    """
    user, _, password = login.partition(":")
    header = f"{unquote(user)}:{unquote(password)}".encode()
    secret = password or user
    read = unquote(secret)
    shown = [secret, read, read.encode().decode("latin-1"), base64.b64encode(header).decode()]
    return [user, unquote(user)], shown if secret else []


def header_secrets(headers: str) -> list[str]:
    """Returns what may be secret in headers as the SDKs' variables have them, one a line."""
    values = [line.partition(":")[2].strip() for line in headers.splitlines()]
    return [*values, *(word for value in values for word in value.split())]


def proxy_logins() -> list[str]:
    """Returns the logins of the proxies that the environment names."""
    return [proxy.rpartition("@")[0].rpartition("//")[2] for proxy in getproxies().values()]


def _forms(secret: str) -> list[str]:
    """Patterns of one secret: written out with any escapes, in base64, in hexadecimal."""
    compared = secret[:_COMPARED]
    written = _written(compared) + (_REST if compared != secret else "")
    data = secret.encode()
    encoded = {base64.b64encode(data), base64.urlsafe_b64encode(data)}
    # Servers that mean well show a part of a key: two thirds of it and more are hidden.
    least = -(-2 * len(compared) // 3) if len(secret) >= _LONG else len(compared)
    after = ""
    for character in reversed(compared[least:]):
        after = f"(?:{_any_escape(character)}{after})?"
    return [
        written,
        _written(compared[:least]) + after,
        _written(compared[-least:]),
        *(re.escape(text.decode().rstrip("=")) for text in sorted(encoded)),
        data.hex(),
    ]


def _begins(secret: str) -> set[str]:
    """The characters with which a form of a secret can begin."""
    compared = secret[:_COMPARED]
    data = secret.encode()
    in_base64 = "".join(_inside_base64(secret)) + base64.b64encode(data).decode()
    return {*compared, *in_base64, *data.hex(), *"\\%&+-_"}


def _inside_base64(secret: str) -> list[str]:
    """Patterns of a secret in the base64 of a longer text, wherever it begins there."""
    found = []
    for before, begin in enumerate((0, 2, 3)):
        data = bytes(before) + secret.encode()
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            whole = encode(data).decode().rstrip("=")
            found.append(re.escape(whole[begin : -1 if len(data) % 3 else None]))
    return sorted(set(found))


def _written(text: str) -> str:
    """A pattern of a text in any escapes; backslashes before its first character stay."""
    first = _any_escape(text[0], most=0)
    return first + "".join(map(_any_escape, text[1:]))


def _any_escape(character: str, most: int = 8) -> str:
    """A pattern of one character as it is, with backslashes, percent-encoded, or as an entity.

    Repetitions are bounded, so that a text of nothing but backslashes takes linear time.
    """
    code, data = ord(character), character.encode()
    named = {html.escape(character), "&apos;" if character == "'" else character} - {character}
    ways = [
        rf"\\{{0,{most}}}{re.escape(character)}",
        "".join(f"%(?:25){{0,3}}{byte:02x}" for byte in data),
        "".join(rf"\\{{1,{most or 1}}}x{byte:02x}" for byte in data),
        rf"\\{{1,{most or 1}}}(?:u{{?0{{0,6}}|x0{{0,6}}){code:x}\}}?",
        f"&#0{{0,6}}{code};",
        f"&#x0{{0,6}}{code:x};",
        *map(re.escape, sorted(named)),
        *([r"\+"] if character == " " else []),
        *([] if character.isprintable() else [r"\\{0,7}" + re.escape(repr(character)[1:-1])]),
    ]
    return f"(?:{'|'.join(ways)})"
