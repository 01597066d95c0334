"""The door to OpenAI's SDK, with what only llama.cpp's server can tell: exact counts of tokens."""

from __future__ import annotations

from typing import Any

from amp.models.sdkclient import Api, SdkClient

OPENAI = Api(
    name="OpenAI",
    package="openai",
    client="AsyncOpenAI",
    errors="OpenAIError",
    resource="chat.completions",
    address="https://api.openai.com/v1",
    variable="OPENAI",
)

_COUNT_TIMEOUT_SECONDS = 10.0


class OpenAIClient(SdkClient):
    """The SDK's client for one model; see `SdkClient` for its arguments and errors."""

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None,
        api_key: str | None,
        timeout_seconds: float,
        max_retries: int,
    ) -> None:
        super().__init__(
            OPENAI,
            model,
            base_url=base_url,
            api_key=api_key,
            timeout_seconds=timeout_seconds,
            max_retries=max_retries,
        )
        self._counts_exactly = not self.is_providers_own

    async def count_tokens(
        self, messages: list[dict[str, str]], extra: dict[str, Any]
    ) -> int | None:
        """Returns the tokens of these messages if the server is llama.cpp's, else None.

        Args:
            messages: the chat.
            extra: further fields of the request that the template may read.
        """
        if not self._counts_exactly:
            return None
        root = self.address.removesuffix("/v1")
        try:
            templated = await self._post(f"{root}/apply-template", {**extra, "messages": messages})
            body = {"content": templated["prompt"], "add_special": True, "parse_special": True}
            return len((await self._post(f"{root}/tokenize", body))["tokens"])
        except self._sdk.APIConnectionError:
            return None  # it may be back later
        except (self._sdk.OpenAIError, ValueError, KeyError, TypeError):
            self._counts_exactly = False
            return None

    async def _post(self, url: str, body: dict[str, Any]) -> dict[str, Any]:
        client = (await self.connected()).with_options(
            timeout=_COUNT_TIMEOUT_SECONDS, max_retries=0
        )
        answer = await client.post(url, body=body, cast_to=object)
        if not isinstance(answer, dict):
            raise TypeError("no JSON object")
        return answer
