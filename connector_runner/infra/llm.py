"""A language model behind an OpenAI-compatible endpoint, asked for answers of one shape only.

The ``openai`` package writes and reads the protocol; every byte goes through ``infra.http``, so that the address
check, the limits of time and size, and "no redirects, no retries" hold here too. It is an extra, imported late.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from jsonschema import Draft202012Validator

from connector_runner.infra.http import HTTP
from connector_runner.infra.logging import get_logger
from connector_runner.infra.secrets import resolve
from connector_runner.kernel.errors import BadRecord, Misconfigured, RunnerError, TryAgain, Unavailable
from connector_runner.settings import Settings

if TYPE_CHECKING:
    import httpx2
    from openai import OpenAI

MOST_ANSWER_BYTES: Final = 64 * 1024
MOST_TOKENS: Final = 200
_UNAVAILABLE: Final = frozenset({408, 409, 425, 429})
_NOT_CONFIGURED: Final = frozenset({401, 403, 404})

log = get_logger(__name__)


class Nonsense(BadRecord):
    """The model answered, and not in the shape that it was asked for. Asking again would likely give the same."""

    default_code = "llm_nonsense"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. ``rules`` are ours; ``said`` came from outside and is data. ``schema`` is of the answer.

    ``said`` is one value, or an object. ``most_tokens`` bounds the answer.
    """

    name: str
    rules: str
    said: str | Mapping[str, Any] = field(repr=False)
    schema: dict[str, Any] = field(repr=False)
    most_tokens: int = MOST_TOKENS

    @property
    def content(self) -> str:
        """The data as it is sent: a JSON object."""
        said = {"value": self.said} if isinstance(self.said, str) else self.said
        return json.dumps(said, ensure_ascii=False)

    @property
    def tokens(self) -> int:
        """About what asking costs at the most: four characters of English are about one token."""
        return (len(self.rules) + len(self.content) + len(json.dumps(self.schema))) // 4 + self.most_tokens


class LanguageModel:
    """One model at one endpoint. Share it between threads."""

    def __init__(self, http: HTTP, *, base_url: str, model: str, api_key: str | None, timeout_s: float) -> None:
        """``api_key``: the key itself, None where the endpoint wants none; ``timeout_s`` bounds a whole answer."""
        self.model = model
        self._http, self._base_url, self._api_key, self._timeout_s = http, base_url, api_key, timeout_s
        self._client: OpenAI | None = None

    @property
    def host(self) -> str:
        """Whoever reads what it is asked."""
        return urlsplit(self._base_url).netloc.rpartition("@")[2]

    @classmethod
    def of(cls, settings: Settings, http: HTTP) -> LanguageModel | None:
        """The one of this installation; None when none is set.

        Raises Misconfigured for a setting without its counterpart, or a key that is not there.
        """
        if settings.llm_base_url is None and settings.llm_model is None:
            return None
        if settings.llm_base_url is None or settings.llm_model is None:
            lacking = "LLM_MODEL" if settings.llm_model is None else "LLM_BASE_URL"
            raise Misconfigured(
                "an endpoint needs a model, and a model an endpoint", code="llm", where=f"CONNECTOR_RUNNER_{lacking}"
            )
        key = resolve(settings.llm_api_key) if settings.llm_api_key else None
        base_url, model = settings.llm_base_url, settings.llm_model
        return cls(http, base_url=base_url, model=model, api_key=key, timeout_s=settings.llm_timeout_s)

    def ask(self, question: Question) -> dict[str, Any]:
        """The answer to one question, checked against its schema; temperature 0, never asked twice.

        Raises Unavailable or another TryAgain when there is no answer now, Nonsense for one that is of no use,
        Misconfigured when the endpoint, the key or the package is at fault.
        """
        client = self._opened()
        import openai

        started = time.monotonic()
        try:
            done = client.chat.completions.create(
                model=self.model,
                temperature=0,
                max_completion_tokens=question.most_tokens,
                messages=[
                    {"role": "system", "content": question.rules},
                    {"role": "user", "content": question.content},
                ],
                response_format={
                    "type": "json_schema",
                    "json_schema": {"name": question.name, "strict": True, "schema": question.schema},
                },
            )
            text = done.choices[0].message.content
        except openai.APIStatusError as error:
            raise _refused(error.status_code) from None
        except openai.APIConnectionError as error:
            raise _cause(error) from None
        except (openai.OpenAIError, AttributeError, IndexError, TypeError, ValueError):
            raise Nonsense("the endpoint's answer is not of its protocol") from None
        finally:
            log.info("llm.asked", model=self.model, seconds=round(time.monotonic() - started, 3))
        return _read(text, question.schema)

    def _opened(self) -> OpenAI:
        if self._client is None:
            try:
                import httpx2
                from openai import OpenAI
            except ImportError:
                raise Misconfigured(
                    "a language model is set, and the extra `llm` is not installed", code="llm", where="openai"
                ) from None
            client = httpx2.Client(transport=_transport(self._http, self._timeout_s), trust_env=False)
            self._client = OpenAI(
                api_key=self._api_key or "none",
                base_url=self._base_url,
                http_client=client,
                max_retries=0,
                timeout=self._timeout_s,
            )
        return self._client


def _transport(http: HTTP, timeout_s: float) -> httpx2.BaseTransport:
    """What the package takes for its connection: one guarded request for each of its own."""
    import httpx2

    class Guarded(httpx2.BaseTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            kept = {name: value for name, value in request.headers.items() if name not in _OWN_HEADERS}
            try:
                answer = http.request(
                    request.method,
                    str(request.url),
                    headers=kept,
                    data=request.read(),
                    timeout_s=timeout_s,
                    deadline_s=timeout_s,
                    max_bytes=MOST_ANSWER_BYTES,
                )
            except RunnerError as error:
                raise httpx2.ConnectError(error.code, request=request) from error
            plain = {name: value for name, value in answer.headers.items() if name.lower() not in _BODY_HEADERS}
            return httpx2.Response(answer.status, headers=plain, content=answer.body, request=request)

    return Guarded()


_OWN_HEADERS: Final = frozenset({"host", "connection", "content-length", "accept-encoding", "transfer-encoding"})
_BODY_HEADERS: Final = frozenset({"content-length", "content-encoding", "transfer-encoding"})


def _cause(error: BaseException) -> RunnerError:
    """What our own way out said of a request that came to nothing."""
    step: BaseException | None = error
    while step is not None:
        if isinstance(step, RunnerError):
            return step
        step = step.__cause__
    return Unavailable("the endpoint does not answer", code="llm_down")


def _refused(status: int) -> RunnerError:
    if status in _NOT_CONFIGURED:
        return Misconfigured("the endpoint refuses the key, or has no such model", code="llm_refused")
    if status in _UNAVAILABLE or status >= 500:
        return TryAgain("the endpoint cannot answer now", code=f"llm_{status}")
    return Nonsense("the endpoint does not take the question", code=f"llm_{status}")


def _read(text: Any, schema: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(text, str):
        raise Nonsense("no text in the answer")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise Nonsense("the answer is not JSON") from None
    if not isinstance(found, dict) or not Draft202012Validator(schema).is_valid(found):
        raise Nonsense("the answer is not of the shape that was asked for")
    return found
