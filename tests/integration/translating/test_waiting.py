"""Values without a code on their way to a sink: what waits, and what goes on."""

from __future__ import annotations

import json
from pathlib import Path

from connector_runner.infra.database import rows
from connector_runner.observability.explain import explain
from connector_runner.unification.translation_prompt import PROMPT_VERSION
from tests.integration.llm_server import Model
from tests.integration.outbound_stack import Clinic, System, a_patient
from tests.integration.translating.stack import (
    MARITAL,
    SAID,
    answer,
    decisions,
    held,
    patient,
    quarantined,
    set_up,
    work_off,
)


def test_to_explain_asks_for_no_code_and_names_the_wait(clinic: Clinic, ehr: System, tmp_path: Path) -> None:
    set_up(clinic, ehr, tmp_path, "wait")
    entity = patient(clinic)
    with clinic.database.begin(clinic.workspace) as tx:
        [sink] = explain(tx, clinic.outbound, clinic.workspace, entity)["sinks"]
    assert clinic.count("translation_request") == 0
    assert sink["decision"] == {"action": "wait", "reason": "translation_pending", "detail": "marital_status"}
    assert sink["atoms"]["birth_date"]["decision"] == "translation_pending"


# by rules alone


def test_what_rules_find_is_written_as_the_sinks_code_and_settles(clinic: Clinic, ehr: System, tmp_path: Path) -> None:
    set_up(clinic, ehr, tmp_path, "wait")
    patient(clinic, "is married")
    clinic.flow("ehr")
    assert held(ehr) == {
        "coding": [{"system": MARITAL, "code": "M", "display": "Married"}],
        "text": "is married",
    }
    assert clinic.count("translation") == 0
    clinic.poll("ehr", "Patient")
    clinic.flow("ehr")
    assert len(ehr.writes()) == 1
    assert clinic.lane("ehr")["state"] == "idle"


# waiting, and the model's answer


def test_a_write_waits_for_the_model_which_no_drain_asks(
    clinic: Clinic, ehr: System, server: Model, tmp_path: Path
) -> None:
    server.says("M")
    set_up(clinic, ehr, tmp_path, "wait")
    patient(clinic)
    clinic.flow("ehr")
    lane = clinic.lane("ehr")
    assert (lane["state"], lane["reason"], lane["reason_detail"]) == (
        "waiting",
        "translation_pending",
        "marital_status",
    )
    assert (ehr.writes(), server.asked) == ([], [])
    assert work_off(clinic, server).outcomes == {"decided": 1}
    clinic.flow("ehr")
    assert held(ehr)["coding"][0]["code"] == "M"
    assert held(ehr)["text"] == SAID
    [kept] = decisions(clinic)
    assert (kept["code"], kept["method"], kept["model"], kept["prompt_version"], kept["decided_by"]) == (
        "M", "llm", "small-1", PROMPT_VERSION, "llm",
    )  # fmt: skip
    assert kept["decided_at"] is not None


def test_an_answer_is_asked_for_once_and_serves_all_who_say_the_same(
    clinic: Clinic, ehr: System, server: Model, tmp_path: Path
) -> None:
    server.says("M")
    set_up(clinic, ehr, tmp_path, "wait")
    patient(clinic)
    patient(clinic, SAID.upper() + "!", family="Asante")
    clinic.flow("ehr")
    assert [lane["state"] for lane in clinic.lanes("ehr")] == ["waiting", "waiting"]
    work_off(clinic, server)
    clinic.flow("ehr")
    patient(clinic, SAID, family="Boateng")
    clinic.flow("ehr")
    assert [one["maritalStatus"]["coding"][0]["code"] for one in ehr.all("Patient")] == ["M", "M", "M"]
    assert len(server.asked) == 1
    assert work_off(clinic, server).outcomes == {}


def test_nothing_of_the_text_is_kept_in_the_clear_or_in_work_tables(
    clinic: Clinic, ehr: System, tmp_path: Path
) -> None:
    set_up(clinic, ehr, tmp_path, "wait")
    patient(clinic)
    clinic.flow("ehr")
    work_off(clinic, None)
    with clinic.database.begin(clinic.workspace) as tx:
        for table in ("translation", "translation_request", "translation_waiter", "sync_lane"):
            dump = " ".join(row["t"] for row in rows(tx, f"SELECT t::text AS t FROM {table} t"))
            assert dump
            assert "quatermass" not in dump.lower()
            assert SAID.encode().hex() not in dump
    [(entry, body)] = quarantined(clinic)
    assert json.loads(body or b"") == {"text": SAID}
    assert "quatermass" not in repr(entry).lower()


# going on without it


def test_the_rest_is_written_and_the_code_follows(clinic: Clinic, ehr: System, server: Model, tmp_path: Path) -> None:
    server.says("M")
    set_up(clinic, ehr, tmp_path, "withhold")
    patient(clinic)
    clinic.flow("ehr")
    assert held(ehr) is None
    assert {"atom": "marital_status", "code": "untranslated"} in clinic.lane("ehr")["withheld"]
    work_off(clinic, server)
    clinic.flow("ehr")
    assert held(ehr)["coding"][0]["code"] == "M"
    assert clinic.lane("ehr")["withheld"] == []
    assert [entry["method"] for entry in ehr.writes()] in (["PUT", "PUT"], ["POST", "PUT"])


def test_words_that_are_kept_are_put_into_a_code_later(
    clinic: Clinic, ehr: System, server: Model, tmp_path: Path
) -> None:
    server.says("M")
    set_up(clinic, ehr, tmp_path, "keep")
    patient(clinic)
    clinic.flow("ehr")
    assert held(ehr) == {"text": SAID}
    clinic.poll("ehr", "Patient")
    work_off(clinic, server)
    clinic.flow("ehr")
    assert held(ehr)["coding"][0]["code"] == "M"
    clinic.poll("ehr", "Patient")
    clinic.flow("ehr")
    assert len(ehr.writes()) == 2


def test_the_sinks_own_words_stay_though_somebody_repeats_them(clinic: Clinic, ehr: System, tmp_path: Path) -> None:
    set_up(clinic, ehr, tmp_path, "wait")
    ehr.put(a_patient(maritalStatus={"text": "is married"}))
    clinic.poll("ehr", "Patient")
    again = {"canonical_id": "ehr:Patient:p1", "entity_type": "patient", "confidence": 0.5}
    for facts in ({"marital_status": {"text": "is married"}}, {"gender": "male"}):
        said = clinic.say(**again, facts=facts)
        clinic.judge(said.events[0]["id"])
        clinic.flow("ehr")
    assert ehr.get("Patient/p1")["gender"] == "male"
    assert held(ehr) == {"text": "is married"}


def test_words_that_may_be_kept_bother_nobody(clinic: Clinic, ehr: System, tmp_path: Path) -> None:
    set_up(clinic, ehr, tmp_path, "keep")
    patient(clinic)
    clinic.flow("ehr")
    assert work_off(clinic, None).outcomes == {"dropped": 1}
    assert quarantined(clinic) == []


def test_where_it_is_to_fail_it_fails_once_the_model_has_no_answer(
    clinic: Clinic, ehr: System, server: Model, tmp_path: Path
) -> None:
    set_up(clinic, ehr, tmp_path, "fail")
    patient(clinic)
    clinic.flow("ehr")
    assert clinic.lane("ehr")["state"] == "waiting"
    work_off(clinic, server)
    clinic.flow("ehr")
    lane = clinic.lane("ehr")
    assert (lane["state"], lane["reason"], lane["reason_detail"]) == ("idle", "untranslated", "marital_status")
    assert len(quarantined(clinic)) == 1
    answer(clinic, "M")
    clinic.flow("ehr")
    assert held(ehr)["coding"][0]["code"] == "M"


def test_without_leave_the_model_is_not_asked(clinic: Clinic, ehr: System, server: Model, tmp_path: Path) -> None:
    server.says("M")
    set_up(clinic, ehr, tmp_path, "wait", llm=False)
    patient(clinic)
    clinic.flow("ehr")
    assert work_off(clinic, server).outcomes == {"person": 1}
    assert server.asked == []
