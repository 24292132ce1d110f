"""Numbers that no database holds are refused as any other bad record."""

from __future__ import annotations

from decimal import Decimal

import pytest

from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import BadRecord


@pytest.mark.parametrize("token", ["1e400000", "1E-400000", "1e99999999999999999999", "0." + "1" * 20_000, "NaN"])
def test_a_number_out_of_range_is_a_bad_record(token: str) -> None:
    with pytest.raises(BadRecord) as caught:
        exact_json.loads(f'{{"value": {token}}}')
    assert (caught.value.code, token in str(caught.value)) == ("not_json", token == "NaN")


@pytest.mark.parametrize("token", ["1.00", "-0.0", "1E+10", "0.000000001", "0E-7"])
def test_a_number_keeps_its_digits(token: str) -> None:
    assert exact_json.dumps(exact_json.loads(token)) == str(Decimal(token))
