"""What speaks for two records being one person, and what only seems to."""

from __future__ import annotations

from typing import Any

import pytest

from connector_runner.resolution.evidence import RAREST, Evidence, judge
from connector_runner.resolution.guards import CLEAR
from connector_runner.resolution.identity import NPI_SYSTEM, SSN_SYSTEM, Kind, identity_of
from connector_runner.resolution.practitioners import is_same_specialty
from connector_runner.resolution.thresholds import thresholds
from connector_runner.resolution.weights import shipped

LINKS = 2.5
PHONE, OTHER_PHONE = "+16175550101", "+16175559999"


class Town:
    """Ten thousand people, of whom one in a thousand is called alike, and nobody Nayden."""

    size = 10_000
    crowded = False

    def share(self, name_field: str, value: str) -> float:
        if value == "nayden":
            return RAREST
        return 0.02 if value in ("john", "smith") else 0.0005

    def given_names_on(self, phone: str) -> int:
        return 9 if self.crowded else 1


def person(number: int, kind: Kind = "patient", **state: Any) -> Any:
    given, family = state.pop("given", None), state.pop("family", None)
    name = {"given": [given] if given else [], "family": family}
    phones = [{"system": "phone", "value": value} for value in state.pop("phones", ())]
    mail = [{"system": "email", "value": value} for value in state.pop("emails", ())]
    street, code = state.pop("street", None), state.pop("code", None)
    address = [{"line": [street], "city": "Boston", "state": "MA", "postal_code": code}] if street else []
    return identity_of(
        f"ehr:Patient:{number}", kind, {"name": name, "telecom": phones + mail, "address": address, **state}
    )


def judged(one: dict[str, Any], other: dict[str, Any], *, kind: Kind = "patient", crowded: bool = False) -> Evidence:
    town = Town()
    town.crowded = crowded
    return judge(person(1, kind, **one), person(2, kind, **other), shipped(), town)


ADA: dict[str, Any] = {"given": "Adaeze", "family": "Okafor", "birth_date": "1982-03-04", "gender": "female"}
HOME = {"street": "12 Elm Street", "code": "02118", "phones": [PHONE]}


def test_the_same_name_birth_date_and_phone_link() -> None:
    assert judged(ADA | HOME, ADA | HOME).bits > LINKS


def test_a_household_shares_phone_surname_and_place_and_does_not_link() -> None:
    husband = {"given": "Emeka", "family": "Okafor", "birth_date": "1979-11-20"} | HOME
    assert judged(ADA | HOME, husband).bits < -3


def test_twins_share_all_but_a_given_name_and_do_not_link() -> None:
    twins = judged(ADA | HOME, ADA | HOME | {"given": "Chioma"})
    assert twins.held == "given_name"
    assert twins.counted < LINKS


def test_senior_and_junior_are_two() -> None:
    found = judged(ADA | HOME | {"family": "Okafor Sr"}, ADA | HOME | {"family": "Okafor Jr"})
    assert (found.held, found.veto, found.weights["generation"]) == ("generation", None, -12.0)
    assert found.counted < LINKS


def test_a_common_name_and_birth_date_alone_do_not_link_and_a_rare_one_does() -> None:
    common = {"given": "John", "family": "Smith", "birth_date": "1982-03-04"}
    rare = {"given": "Adaeze", "family": "Okafor", "birth_date": "1982-03-04"}
    assert judged(common, common).held == "common_name"
    assert judged(common, common).counted < LINKS < judged(rare, rare).counted
    assert judged(common | HOME, common | HOME).held is None


def test_a_name_and_the_first_of_january_alone_do_not_link() -> None:
    day = {"given": "Adaeze", "family": "Okafor", "birth_date": "1982-01-01"}
    assert judged(day, day).held == "first_of_january"
    assert judged(day | HOME, day | HOME).bits > LINKS


def test_the_first_of_january_1900_says_nothing() -> None:
    day = {"given": "John", "family": "Smith", "birth_date": "1900-01-01"}
    assert "birth" not in judged(day, day).levels
    assert judged(day, day).bits < LINKS


def test_a_phone_alone_does_not_link() -> None:
    alone = judged({"phones": [PHONE]}, ADA | HOME)
    assert (alone.held, alone.counted < LINKS) == ("only_phone", True)


def test_a_phone_of_many_says_nothing() -> None:
    one, other = ADA | {"phones": [PHONE]}, {"given": "Adaeze", "family": "Okafor", "phones": [PHONE]}
    assert judged(one, other).bits > judged(one, other, crowded=True).bits + 2
    assert "phone" not in judged(one, other, crowded=True).weights


def test_another_ssn_is_a_veto_whatever_else_agrees() -> None:
    ssn = [{"system": SSN_SYSTEM, "value": "123-45-6788"}], [{"system": SSN_SYSTEM, "value": "587-65-4321"}]
    assert judged(ADA | HOME | {"identifier": ssn[0]}, ADA | HOME | {"identifier": ssn[1]}).veto == "ssn"


def test_an_ssn_that_anybody_types_says_nothing_of_who_it_is() -> None:
    typed, given_out = ([{"system": SSN_SYSTEM, "value": value}] for value in ("123-45-6789", "219-45-6789"))
    mother = {"given": "Ngozi", "family": "Okafor", "birth_date": "1955-01-30"}
    assert "identifier" not in judged(ADA | {"identifier": typed}, mother | {"identifier": typed}).weights
    assert "identifier" in judged(ADA | {"identifier": given_out}, mother | {"identifier": given_out}).weights


def test_an_ssn_that_anybody_types_parts_nobody() -> None:
    typed, given_out = ([{"system": SSN_SYSTEM, "value": value}] for value in ("123-45-6789", "219-45-6789"))
    evidence = judged(ADA | HOME | {"identifier": typed}, ADA | HOME | {"identifier": given_out})
    assert evidence.veto is None
    assert evidence.counted > LINKS


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"given": "Daniel", "gender": "male"}, {"given": "Daniela", "gender": "female"}),
        ({"given": "Eric", "gender": "male"}, {"given": "Erica", "gender": "female"}),
        ({"given": "Jayden", "gender": "male"}, {"given": "Hayden", "gender": "male"}),
        ({"given": "Mia"}, {"given": "Lia"}),
    ],
)
def test_twins_of_nearly_one_name_are_a_question(one: dict[str, Any], other: dict[str, Any]) -> None:
    at_home = HOME | {"family": "Okafor", "birth_date": "2015-03-04", "phones": [PHONE]}
    assert judged(at_home | one, at_home | other).held == "given_name"


@pytest.mark.parametrize("slip", ["Jaydn", "Nayden"])
def test_a_slip_in_a_name_is_none_of_a_twin(slip: str) -> None:
    at_home = HOME | {"family": "Okafor", "birth_date": "2015-03-04", "phones": [PHONE]}
    assert judged(at_home | {"given": "Jayden"}, at_home | {"given": slip}).counted > LINKS


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"given": "Emeka", "birth_date": "1979-01-09"}, {"given": "Emeka", "birth_date": "2007-05-23"}),
        ({"given": "Mia", "birth_date": "2010-03-04"}, {"given": "Mya", "birth_date": "2012-05-09"}),
        ({"given": "Mia", "birth_date": "2010-03-04"}, {"birth_date": "2012-05-09"}),
    ],
)
def test_a_number_that_a_family_has_does_not_outweigh_other_days_of_birth(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    number = HOME | {"family": "Okafor", "identifier": [{"system": "urn:member", "value": "W17"}]}
    assert judged(number | one, number | other).held == "other_birth"


def test_two_record_numbers_of_one_system_are_no_veto() -> None:
    mrn = [{"system": "urn:mrn", "value": "M15"}], [{"system": "urn:mrn", "value": "M27"}]
    assert judged(ADA | HOME | {"identifier": mrn[0]}, ADA | HOME | {"identifier": mrn[1]}).bits > LINKS


def test_another_number_of_one_system_speaks_against_unless_it_numbers_charts() -> None:
    licence = [{"system": "urn:licence", "value": value} for value in ("S1", "S2")]
    chart = [{"system": "urn:mrn", "value": value, "type": "MR"} for value in ("M15", "M27")]
    for two, level, most, least in ((licence, "differs", -4, -5), (chart, "chart_differs", 0, -0.1)):
        found = judged(ADA | {"identifier": two[:1]}, ADA | {"identifier": two[1:]})
        assert found.levels["identifier"] == level
        assert least < found.weights["identifier"] <= most


def test_one_number_links_and_waits_where_it_may_be_a_relatives() -> None:
    number = {"identifier": [{"system": "urn:member", "value": "W17"}]}
    assert judged(number, number | ADA).counted > LINKS
    twin = ADA | {"given": "Chioma"}
    child = ADA | {"birth_date": "2015-06-01"}
    assert judged(ADA | number, twin | number).held == "given_name"
    assert judged(ADA | number, child | number).held == "generation"
    assert judged(ADA | number | {"birth_date": "1990-11-30"}, ADA | number).counted > LINKS


def test_a_source_that_says_replaced_by_links() -> None:
    link = [{"other": {"ref": "ehr:Patient:2"}, "type": "replaced-by"}]
    assert judged({"given": "A", "link": link}, ADA).weights["identifier"] > LINKS


def test_every_field_tells_what_it_adds() -> None:
    evidence = judged(ADA | HOME, ADA | HOME)
    assert set(evidence.weights) == set(evidence.levels)
    assert evidence.version == shipped().version


def test_evidence_is_symmetric() -> None:
    one, other = person(1, **ADA), person(2, **ADA | HOME)
    assert judge(one, other, shipped(), Town()) == judge(other, one, shipped(), Town())


def npi(number: str) -> dict[str, Any]:
    return {"identifier": [{"system": NPI_SYSTEM, "value": number}]}


def doctor(**more: Any) -> dict[str, Any]:
    return {"given": "Ruth", "family": "Riding", "qualification": [{"code": {"text": "Dermatology"}}]} | more


def test_one_npi_is_one_practitioner_and_another_is_another() -> None:
    married = doctor(family="Wilde") | npi("1234567893")
    assert judged(doctor() | npi("1234567893"), married, kind="practitioner").bits > LINKS
    assert judged(doctor() | npi("1234567893"), doctor() | npi("1003000126"), kind="practitioner").veto == "npi"


def test_a_phone_never_matches_practitioners() -> None:
    colleague = {"given": "Rita", "family": "Noble", "phones": [PHONE]}
    with_phone = judged(doctor(phones=[PHONE]), colleague, kind="practitioner")
    assert "phone" not in with_phone.levels
    assert with_phone.bits < 0


def test_name_and_specialty_match_and_another_specialty_does_not() -> None:
    other = {"qualification": [{"code": {"text": "Cardiology"}}]}
    assert judged(doctor(), doctor(qualification=[{"code": {"text": "Derm"}}]), kind="practitioner").bits > LINKS
    assert judged(doctor(), doctor() | other, kind="practitioner").bits < 0


@pytest.mark.parametrize(
    ("one", "other"),
    [("Ortho", "Orthopaedic Surgery"), ("FM", "Family Medicine"), ("OB/GYN", "Obstetrics & Gynecology"),
     ("Int Med", "Internal Medicine"), ("Cardiology", "Cardiovascular Disease"), ("FNP", "Nurse Practitioner, Family")],
)  # fmt: skip
def test_specialties_in_other_words(one: str, other: str) -> None:
    assert is_same_specialty(one, other)


def test_specialties_that_only_look_alike() -> None:
    assert not is_same_specialty("Internal Medicine", "Family Medicine")
    assert not is_same_specialty("Neurology", "Urology")


def test_practitioners_who_are_only_called_alike_are_a_question() -> None:
    alone = judged({"given": "Ada", "family": "Lin"}, {"given": "Ada", "family": "Lin"}, kind="practitioner")
    assert (alone.held, alone.counted < LINKS) == ("name_alone", True)
    licence = [{"system": "urn:board:ma", "value": "L-4411"}]
    numbered = {"given": "Ada", "family": "Lin", "identifier": licence}
    assert judged(numbered, numbered, kind="practitioner").counted > LINKS


def test_a_name_alone_does_not_link() -> None:
    rare = {"given": "Adaeze", "family": "Okafor"}
    assert judged(rare, rare).held == "name_alone"
    assert judged(rare | {"birth_date": "1982"}, rare | {"birth_date": "1982"}).held == "name_alone"


def test_a_name_that_is_common_everywhere_is_common_where_few_were_seen() -> None:
    smith = {"given": "James", "family": "Johnson", "birth_date": "1982-03-04"}
    assert judged(smith, smith).held == "common_name"


def test_a_child_is_not_the_parent_whose_phone_and_mailbox_it_goes_by() -> None:
    contact = HOME | {"emails": ["okafor@mail.example"]}
    child = ADA | contact | {"birth_date": "2015-06-01"}
    assert judged(ADA | contact, child).held == "generation"


def test_twins_with_their_parents_mailbox_are_two() -> None:
    contact = HOME | {"emails": ["mokafor@mail.example"]}
    assert judged(ADA | contact, ADA | contact | {"given": "Chioma"}).held == "given_name"
    own = HOME | {"emails": ["adaeze.okafor@mail.example"]}
    assert judged(ADA | own, ADA | own | {"given": "Chioma"}).held is None


def test_a_phone_that_went_along_from_home_to_home_is_no_twins() -> None:
    """Twins who share a phone share a home, where it is a parent's or stands; another given name then is a slip."""
    moved = ADA | HOME | {"given": "Chioma", "street": "7 Park Lane", "code": "02134"}
    assert judged(ADA | HOME, moved).held is None
    assert judged(ADA | HOME, moved | {"street": "12 Elm Street", "code": "02118"}).held == "given_name"
    assert judged(ADA | HOME, moved | {"phones": [OTHER_PHONE]}).held == "given_name"
    assert judged(ADA | HOME, moved | {"birth_date": "1982-04-03"}).held == "given_name"
    assert judged(ADA | HOME, ADA | {"given": "Chioma", "phones": [PHONE]}).held == "given_name"
    child = {"birth_date": "2014-03-04"}
    assert judged(ADA | HOME | child, moved | child).held == "given_name"


def test_more_is_wanted_of_a_link_among_more_records() -> None:
    at = [thresholds(size) for size in (1_450, 2_900, 5_800, 11_300, 51_000, 1_000_000, 10_000_000)]
    assert [round(found.link, 1) for found in at] == [2.5, 2.5, 2.5, 3.1, 5.7, 6.5, 6.5]
    assert all(found.possible < found.link for found in at)
    assert [found.is_possible(3.3, None) for found in at] == [True] * 5 + [False] * 2
    assert not any(found.is_possible(2.9, "given_name") for found in at)


NAME: dict[str, Any] = {"given": "Adaeze", "family": "Okafor"}


@pytest.mark.parametrize(
    ("one", "other", "held"),
    [
        (NAME | HOME, NAME | HOME | {"birth_date": "2015-06-01"}, "perhaps_parent"),
        (NAME | HOME, NAME | HOME | {"birth_date": "2006-06-01"}, None),
        (NAME | HOME, NAME | HOME | {"birth_date": "2006-06-01", "phones": [OTHER_PHONE]}, "perhaps_parent"),
        (NAME | HOME, NAME | HOME | {"birth_date": "1990-06-01"}, None),
    ],
)
def test_a_parent_and_a_child_of_one_name_and_one_home_are_a_question(
    one: dict[str, Any], other: dict[str, Any], held: str | None
) -> None:
    """Of whom one says no date of birth; what a child has of a parent speaks for nothing, what is its own does."""
    assert judged(one, other).held == judged(other, one).held == held
    assert judged(one, other).bits > LINKS


def test_a_grown_up_of_one_name_and_home_links_only_among_few() -> None:
    """Where one says no date of birth and each another phone, it may be a parent: three of 400 in a town of many."""
    alone = judged(NAME | HOME, NAME | HOME | {"birth_date": "1990-06-01", "phones": [OTHER_PHONE]})
    assert alone.held is None
    assert thresholds(Town.size).link < alone.bits < thresholds(50_000).link


def test_what_couples_share_is_no_other_given_name() -> None:
    """A mailbox named after one of them; where both were born on one day it is nobody else's."""
    shared = HOME | {"emails": ["adaeze.okafor@mail.example"]}
    husband = {"given": "Emeka", "family": "Okafor"}
    assert judged(ADA | shared, husband | shared).held == "given_name"
    assert judged(ADA | shared, husband | shared | {"birth_date": ADA["birth_date"]}).held is None
    away = {"street": "7 Park Lane", "code": "02134"}
    assert judged(ADA | shared, husband | shared | away).held is None
    assert judged(ADA | shared, husband | away | {"emails": shared["emails"]}).held == "given_name"


@pytest.mark.parametrize("box", ["fokaforc", "okafor", "cokafor", "chiomaokafor", "a.c.okafor"])
def test_a_mailbox_is_named_after_whose_name_or_initial_stands_in_it(box: str) -> None:
    mine = HOME | {"emails": [f"{box}@mail.example"]}
    own = box in ("cokafor", "chiomaokafor")
    assert (judged(ADA | mine, ADA | mine | {"given": "Chioma"}).held is None) == own


def test_so_much_in_common_that_no_twins_have_it_outweighs_another_given_name() -> None:
    """A day of birth, a home, a phone and a middle name are more than twins come to; the first three are not."""
    alike = {name: value for name, value in ADA.items() if name != "given"} | HOME
    q = judged(alike | {"given": "Adaeze Q"}, alike | {"given": "Chioma Q"})
    assert q.levels["given"] == "different"
    assert (q.levels["middle"], q.held) == ("equal", None)
    assert q.bits > thresholds(Town.size).link + CLEAR
    assert judged(alike | {"given": "Adaeze"}, alike | {"given": "Chioma"}).held == "given_name"


def test_brothers_of_one_name_are_a_question_and_a_slip_of_a_date_is_none() -> None:
    young = NAME | HOME | {"birth_date": "2009-07-25"}
    assert judged(young, young | {"birth_date": "1996-09-11"}).held == "other_birth"
    assert judged(young, young | {"birth_date": "2010-07-25"}).held is None


def test_a_name_and_a_town_or_a_mailbox_made_of_the_name_do_not_link() -> None:
    here = NAME | {"street": "12 Elm Street", "code": "02118"}
    there = NAME | {"street": "7 Park Lane", "code": "02134"}
    assert judged(here, there).held == "name_alone"
    assert judged(here | {"birth_date": "1982-03-04"}, there | {"birth_date": "1982-03-04"}).held is None
    one, other = (NAME | {"emails": [f"adaeze.okafor@{host}.example"]} for host in ("mail", "inbox"))
    assert judged(one, other).held == "name_alone"


def test_one_street_in_two_towns_is_no_home() -> None:
    here = ADA | {"street": "122 Park Lane Apt 44", "code": "02095"}
    there = ADA | {"family": "Lindqvist", "street": "267 Park Lane Apt 54", "code": "02073"}
    assert judged(here, there).levels["place"] == "alike"
    assert judged(here, there).held == "family_name"
    assert judged(here, there | {"street": "122 Park Lane Apt 4"}).held is None


def test_names_that_changed_places_are_found_with_a_slip() -> None:
    assert judged(ADA | HOME, ADA | HOME | {"given": "Okafr", "family": "Adaeze"}).levels["given"] == "swapped"
    assert judged(ADA | HOME, ADA | HOME | {"given": "Okafor", "family": "Chioma"}).levels["given"] == "different"
