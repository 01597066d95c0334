"""What comes of a request to an upstream, be it a server or a recording: an answer or an error."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

_LARGEST_ANSWER = 256_000_000


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer whose head is there, and whose body comes.

    Attributes:
        status: of it.
        headers: names in lower case, and values as they came.
        chunks: the body, in parts as they come.
    """

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    chunks: AsyncIterator[bytes]

    def header(self, name: bytes) -> bytes:
        """A header's value; empty if there is none."""
        return next((value for each, value in self.headers if each == name), b"")


def is_stream(content_type: bytes) -> bool:
    """Whether a body of this type are events."""
    return content_type.lower().startswith(b"text/event-stream")


class UpstreamError(Exception):
    """The upstream gave no answer.

    Attributes:
        status: what the client is told.
        may_be_billed: whether the upstream may have read the request.
        begun: whether it had begun to answer.
        told: headers of its answer.
        body: of its answer, without the upstream's key.
    """

    told: Mapping[str, str] = MappingProxyType({})
    body = b""

    def __init__(
        self, message: str, status: int, *, may_be_billed: bool, begun: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.may_be_billed = may_be_billed
        self.begun = begun


class UpstreamRefusedError(UpstreamError):
    """The upstream answered that it does not.

    Attributes:
        headers: of its answer, as the client gets them.
    """

    def __init__(
        self, status: int, headers: list[tuple[bytes, bytes]], body: bytes, *, may_be_billed: bool
    ) -> None:
        super().__init__(
            f"the upstream answers with status {status}", status, may_be_billed=may_be_billed
        )
        self.headers = headers
        self.told = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        self.body = body


async def once(content: bytes) -> AsyncIterator[bytes]:
    """A body that is there, in one part."""
    yield content


async def whole(answer: HttpAnswer) -> bytes:
    """An answer that is no stream.

    Raises:
        UpstreamError: if it is larger than any.
    """
    content = bytearray()
    async for chunk in answer.chunks:
        content += chunk
        if len(content) > _LARGEST_ANSWER:
            raise UpstreamError(
                f"the upstream's answer is larger than {_LARGEST_ANSWER:,} bytes",
                502,
                may_be_billed=True,
                begun=True,
            )
    return bytes(content)


async def refusal(answer: HttpAnswer) -> bytes:
    """The body of an answer that was asked for as it is on its way, unpacked.

    Raises:
        UpstreamError: if it is packed in a way that is not read here, or larger than any.
    """
    content, coding = await whole(answer), answer.header(b"content-encoding").lower()
    if coding in (b"", b"identity"):
        return content
    reader = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip and deflate
    try:
        content = reader.decompress(content, _LARGEST_ANSWER)
    except zlib.error:
        content = b""
    if not reader.eof:
        raise UpstreamError(
            "the upstream refuses; its reason is packed in a way that cannot be read here",
            answer.status,
            may_be_billed=False,
            begun=True,
        )
    return content
