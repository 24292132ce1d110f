"""``bearer_token_exchange``: a workspace secret and parameters of the request itself for a short-lived token.

One token is minted for each distinct set of parameters and held until it expires, under a keyed digest of the set: no
identifier is kept. The product's description of the authentication kind is the source of its rules.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

from connector_runner.auth import answers
from connector_runner.auth.answers import Asked
from connector_runner.auth.credentials import filled
from connector_runner.auth.minting import Means
from connector_runner.auth.settings import BearerTokenExchangeAuth
from connector_runner.auth.tokens import PARAMETERS_REFUSED, Known, Minted
from connector_runner.kernel.errors import Forbidden, Misconfigured

_VALUE: Final = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,1022}[\x21-\x7e])?")
_OF_THE_PARAMETERS: Final = frozenset({400, 404, 409, 422})


def taken(auth: BearerTokenExchangeAuth, params: list[tuple[str, str]]) -> dict[str, str]:
    """The headers that a request's parameters feed; those that are consumed are taken off ``params``.

    Raises Misconfigured (``exchange_parameter_missing``, ``exchange_parameter_value``) naming the parameter.
    """
    values: dict[str, str] = {}
    for mapped in auth.exchange_param_headers:
        found = [value for name, value in params if name == mapped.param_name]
        if len(found) != 1:
            if not found and not mapped.required:
                continue
            raise Misconfigured(
                "a request needs this parameter once, for its token",
                code="exchange_parameter_missing",
                where=mapped.param_name,
            )
        if not _VALUE.fullmatch(found[0]):
            raise Misconfigured(
                "the parameter's value cannot be sent in a header",
                code="exchange_parameter_value",
                where=mapped.param_name,
            )
        values[mapped.header_name] = found[0]
    consumed = {mapped.param_name for mapped in auth.exchange_param_headers if mapped.consume}
    params[:] = [(name, value) for name, value in params if name not in consumed]
    return values


def identity(values: Mapping[str, str]) -> str:
    """One text for one set of parameters, whatever their order."""
    return json.dumps(sorted((name.lower(), value) for name, value in values.items()))


class Exchange:
    """Mints the token of one set of parameters."""

    def __init__(self, auth: BearerTokenExchangeAuth, values: Mapping[str, str], means: Means) -> None:
        self._auth = auth
        self._values = values
        self._means = means

    def __call__(self, known: Known) -> Minted:
        """Ask. Raises Forbidden (``exchange_parameters_refused``) when it is the parameters that are refused."""
        auth = self._auth
        secret = filled(auth.exchange_secret_format, self._means.reveal(auth.exchange_secret))
        answer = self._means.post(auth.exchange_url, {**self._values, auth.exchange_secret_header: secret}, b"", None)
        where = "auth.exchange_url"
        if answer.status in _OF_THE_PARAMETERS:
            raise Forbidden(
                f"the token exchange refuses these parameters (status {answer.status})",
                code=PARAMETERS_REFUSED,
                where=where,
            )
        if answer.status in (401, 403):
            raise Misconfigured(
                "the token exchange refuses the workspace's secret: check auth.exchange_secret and the header it goes"
                " into",
                code="client_refused",
                where=where,
            )
        document = answers.checked(answer, Asked(where), self._means.clock())
        token = answers.token_at(document, auth.exchange_token_field, "auth.exchange_token_field")
        stated = answers.at(document, auth.exchange_expires_in_field) if auth.exchange_expires_in_field else None
        life, notes = answers.life_s(stated, float(auth.exchange_default_ttl_seconds))
        return Minted(token, life, notes=notes)

    def material(self) -> str:
        """The workspace's secret."""
        return self._means.reveal(self._auth.exchange_secret)

    def first_refresh_token(self) -> str | None:
        """None."""
        return None
