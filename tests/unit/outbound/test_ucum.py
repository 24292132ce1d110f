"""Units: what labs, vitals and orders are measured in passes, what merely looks like a unit does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector_runner.outbound.validation.ucum import is_unit

KNOWN = """
mg/dL 10*3/uL 10*6/uL mm[Hg] {beats}/min /min kg/m2 kg.m-2 Cel [degF] mmol/L % {score} mg mL g/dL U/L m[IU]/L
fL pg /100{WBC} cm kg mL/min/{1.73_m2} ng/mL mo a 1 h d [lb_av] [in_i] meq/L mosm/kg umol/L {#} uL (mg)/d
ug/kg/min [pH] L/min mg/kg k[IU]/L cm[H2O] [drp] 24.h
"""
UNKNOWN = ["", " ", "mgs", "pounds", "mg/", "m g", "BPM", "mmHg", "((mg)", ")mg(", "mg/dL}", "degC", "kg/m^2", "lbs",
           "mg//dL", "Mg/DL", "MMOL/L", "kilogram", "x" * 200, "µg"]  # fmt: skip


@pytest.mark.parametrize("unit", KNOWN.split())
def test_a_unit(unit: str) -> None:
    assert is_unit(unit)


@pytest.mark.parametrize("text", UNKNOWN)
def test_no_unit(text: str) -> None:
    assert not is_unit(text)


@given(st.text(max_size=200))
def test_any_text_is_judged_without_an_error(text: str) -> None:
    assert is_unit(text) in (True, False)
