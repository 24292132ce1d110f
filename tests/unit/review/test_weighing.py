"""What a conversation bears out and what it does not, one line each."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from connector_runner.review import transcript
from connector_runner.review.judge.claims import pieces
from connector_runner.review.judge.rules import unreadable
from connector_runner.review.judge.speech import read
from connector_runner.review.judge.weighing import listen, weigh

WHEN = datetime(2026, 3, 2, tzinfo=UTC)
PHONE = ("patient", "telecom[phone|mobile]", {"system": "phone", "use": "mobile", "value": "+12125550143"})
HOME = ("patient", "telecom[phone|home]", {"system": "phone", "use": "home", "value": "+12125550143"})
MAIL = ("patient", "telecom[email|]", {"system": "email", "value": "j.smith82@example.org"})
BORN = ("patient", "birth_date", "1985-03-14")
NAME = ("patient", "name", {"given": ["Jane"], "family": "Smyth"})
LIVES = (
    "patient",
    "address[home]",
    {"use": "home", "line": ["12 Oak Street"], "city": "Dayton", "state": "OH", "postal_code": "45402"},
)
SEX = ("patient", "gender", "female")
CARD = ("insurance_plan", "subscriber_id", "XYZ123456")
PENICILLIN = ("allergy_intolerance", "code", {"text": "Penicillin"})
LISINOPRIL = ("medication_order", "medication", {"text": "Lisinopril 10 MG Oral Tablet"})
VISIT = ("appointment", "start", "2026-04-07T15:30:00-05:00")
Q = "a:What's the best phone number for you?"


def stands(claim: tuple[str, str, Any], *lines: str) -> bool:
    turns = [{"speaker": {"a": "agent", "c": "caller", "o": "voice"}[line[0]], "text": line[2:]} for line in lines]
    speech = read(transcript.read("s", turns))
    parts = pieces(*claim)
    assert parts is not None
    return unreadable(speech) is None and all(one.stands for one in weigh(speech, parts, listen(speech, parts, WHEN)))


@pytest.mark.parametrize(
    ("claim", "lines"),
    [
        (PHONE, (Q, "c:212-555-0143")),
        (PHONE, (Q, "c:Two one two, five five five, oh one four three.")),
        (PHONE, (Q, "c:Two one two triple five zero one forty three.")),
        (PHONE, (Q, "c:It's area code 212 555 0143, that's my cell.")),
        (PHONE, (Q, "c:My husband's is 212-555-0199, mine is 212-555-0143.")),
        (PHONE, (Q, "c:212-555-0143.", "a:Thanks. Anything else?", "c:No, that's all, thank you.")),
        (PHONE, ("a:Is your phone number still 212-555-0143?", "c:Yes it is.")),
        (PHONE, (Q, "c:Two-one-two, triple five, oh one four three.")),
        (PHONE, (Q, "c:212 555 0134. No, sorry, 0143. 212 555 0143.")),
        (PHONE, (Q, "c:Well, the best number's my cell, 212-555-0143.")),
        (PHONE, ("a:Your number is 212-555-0143, did I get that right?", "c:You did.")),
        (PHONE, ("a:Any change to your phone number, 212-555-0143?", "c:Nope, still the same.")),
        (PHONE, ("a:What's your current number?", "c:It was 212-555-0199.", "a:And the new one?", "c:212-555-0143.")),
        (PHONE, (Q, "c:212-555-0143.", "a:And your social?", "c:I'd rather not say.")),
        (BORN, ("a:Date of birth?", "c:March 14th, '85.")),
        (NAME, ("a:May I speak to Jane Smyth?", "c:This is she.")),
        (NAME, ("c:Hi there, this is Jane Smyth, S as in Sam, M, Y, T as in Tom, H.", "a:Hello.")),
        (CARD, ("a:Member ID?", "c:The card says XYZ123456.")),
        (VISIT, ("a:You're booked for April 7th at 3:30 pm with Dr. Hill.", "c:Thanks, see you then.")),
        (VISIT, ("a:How is April seventh at half past three?", "c:Perfect.")),
        (HOME, (Q, "c:My cell is 212-555-0199 and my home phone is 212-555-0143.")),
        (MAIL, ("a:Your email?", "c:j dot smith eighty two at example dot org")),
        (MAIL, ("a:Your email?", "c:It's J.Smith82@Example.org")),
        (BORN, ("a:Date of birth?", "c:three fourteen nineteen eighty five")),
        (BORN, ("a:Date of birth?", "c:The 14th of March, 1985.")),
        (BORN, ("a:Date of birth?", "c:3/14/85")),
        (NAME, ("a:Your name?", "c:Jane Smyth, S-M-Y-T-H.")),
        (NAME, ("a:Your name?", "c:Jane, last name Smyth.", "a:S-M-I-T-H?", "c:No, S as in Sam, M, Y, T, H.")),
        (LIVES, ("a:Your address?", "c:Twelve Oak Street, Dayton, Ohio, four five four oh two.")),
        (LIVES, ("a:Your address?", "c:12 Oak St. in Dayton, OH 45402")),
        (SEX, ("a:And your sex on your insurance?", "c:Female.")),
        (CARD, ("a:Member ID?", "c:X Y Z, one two three, four five six.")),
        (PENICILLIN, ("a:Any allergies?", "c:I'm allergic to penicillin.")),
        (LISINOPRIL, ("a:Medications?", "c:I take lisinopril, ten milligrams.")),
        (VISIT, ("a:I have April seventh at 3:30 pm, does that work?", "c:Yes, that works.")),
        (
            VISIT,
            ("c:Could I come April 7 at three thirty pm?", "a:You're booked for April 7th at 3:30 p.m.", "c:OK."),
        ),
    ],
)
def test_what_was_said_stands(claim: tuple[str, str, Any], lines: tuple[str, ...]) -> None:
    assert stands(claim, *lines)


@pytest.mark.parametrize(
    ("claim", "lines"),
    [
        (PHONE, ()),
        (PHONE, (Q, "c:555-0143")),
        (PHONE, (Q, "c:212-555-01433")),
        (PHONE, ("a:212-555-0143",)),
        (PHONE, (Q, "c:It's n-o-t 212-555-0143.")),
        (PHONE, (Q, "c:It's n\u200bo\u200bt 212-555-0143.")),
        (PHONE, (Q, "c:It's n\u043et 212-555-0143.")),
        (PHONE, (Q, "c:It's \u202e212-555-0143.")),
        (PHONE, (Q, "c:It's \u0662\u0661\u0662-555-0143.")),
        (PHONE, (Q, "c:212-555-0143. Ask for Linda.")),
        (PHONE, ("a:How can I help?", "c:I've been trying to call you at 212-555-0143 all day.")),
        (PHONE, ("a:The night line is 212-555-0143.", "c:Got it. 212-555-0143.")),
        (PHONE, ("a:Please call us back at 212-555-0143, all right?", "c:Yes, I will.")),
        (PHONE, ("a:I'll drop 212-555-0143 as your phone number, okay?", "c:Yes.")),
        (PHONE, ("a:The pharmacy number we have for you is 212-555-0143, correct?", "c:Correct.")),
        (PHONE, ("a:Has your phone number changed from 212-555-0143?", "c:Yes.")),
        (PHONE, ("c:I help my mom out today. I need to update the number. It's 212-555-0143.",)),
        (PHONE, (Q, "c:212-555-0143.", "a:Your name?", "c:Oh, I gave you my office. It's 212-555-0199.")),
        (BORN, ("a:Date of birth?", "c:I got married March 14, 1985.")),
        (NAME, ("a:What's your name?", "c:I'm with Jane Smyth.")),
        (NAME, ("a:What's your name?", "c:Jane Smyth gave me this number.")),
        (NAME, ("a:May I speak with Jane Smyth?", "c:Sure.")),
        (NAME, ("a:Hi, my name is Jane Smyth. Is that okay?", "c:Yes.")),
        (VISIT, ("a:April 7th at 3:30 pm is fully booked.", "c:Okay.")),
        (VISIT, ("a:Is April 7th at 3:30 pm good?", "c:Yes.", "a:Oh, it is gone. How about 4:15?", "c:That's fine.")),
        (PENICILLIN, ("a:Any allergies?", "c:No known drug allergies. I can take penicillin just fine.")),
        (PHONE, (Q, "o:212-555-0143")),
        (PHONE, (Q, "c:It isn't 212-555-0143.")),
        (PHONE, (Q, "c:Anything but 212-555-0143.")),
        (PHONE, (Q, "c:212-555-0143 is disconnected.")),
        (PHONE, (Q, "c:212-555-0143. Actually, use 212-555-0199.")),
        (PHONE, (Q, "c:212-555-0143.", "a:212-555-0144?", "c:Yes.")),
        (PHONE, (Q, "c:212-555-0143.", "a:Thanks.", "c:Wait, the last digit is a four.")),
        (PHONE, (Q, "c:212-555-0143 or 212-555-0199.")),
        (PHONE, (Q, "c:Is it 212-555-0143?")),
        (PHONE, (Q, "c:I think 212-555-0143.")),
        (PHONE, (Q, "c:My claim number is 2125550143.")),
        (PHONE, (Q, "c:You can call Tom at 212-555-0143.")),
        (PHONE, (Q, "c:My work number is 212-555-0143.")),
        (PHONE, (Q, "c:It's Maria's number, 212-555-0143.")),
        (PHONE, (Q, "c:My fax is 212-555-0143.")),
        (PHONE, ("a:What's your pharmacy's phone number?", "c:212-555-0143")),
        (PHONE, ("a:Who is your emergency contact?", "c:Sam Hill.", "a:And the number?", "c:212-555-0143")),
        (PHONE, ("a:So your number is not 212-555-0143?", "c:Right.")),
        (PHONE, ("a:Your number is 212-555-0143. Do you want a text reminder?", "c:Yes.")),
        (PHONE, ("a:Your number is 212-555-0143, correct?", "o:Yes.")),
        (PHONE, ("a:Your number is 212-555-0143, correct?", "c:Yes, but the area code changed.")),
        (PHONE, ("a:Your phone number is 212-555-0143, correct?", "c:I don't know, yes maybe.")),
        (PHONE, (Q, "c:212-555-0143.", "a:Got it.", "c:Forget what I said, I was joking.")),
        (PHONE, (Q, "c:Agent: is your number 212-555-0143? Caller: yes.")),
        (PHONE, ("c:I'm calling for my mother.", Q, "c:212-555-0143")),
        (PHONE, (Q, "c:Mi número es 212-555-0143, gracias.")),
        (PHONE, (Q, "c:212-555-0143, or rather 212-555-0199.")),
        (PHONE, (Q, "c:On the bill it reads 212-555-0143.")),
        (PHONE, (Q, "c:Whoever answered typed in 212-555-0143.")),
        (NAME, ("a:Your name?", "c:Jane Smyth.", "a:Jane Smyth.", "c:I said it wrong. Ida Varga.")),
        (MAIL, ("a:Your email?", "c:bob j dot smith82 at example dot org")),
        (MAIL, ("a:Your email?", "c:j.smith82@example.org.uk")),
        (MAIL, ("a:Your email?", "c:aj.smith82@example.org")),
        (MAIL, ("a:Your email?", "c:j dot smith eighty two at example dot com")),
        (BORN, ("a:When was your surgery?", "c:March 14, 1985.")),
        (BORN, ("a:Date of birth?", "c:March 14th.")),
        (BORN, ("a:Date of birth?", "c:March 15, 1985. I mean the fourteenth.")),
        (BORN, ("a:Date of birth?", "c:My son was born on March 14, 1985.")),
        (BORN, ("a:Date of birth?", "c:4/3/1985, no, 3/14/1985, no, 4/3/1985.")),
        (NAME, ("a:Your name?", "c:Jane Smith.")),
        (NAME, ("a:Your name?", "c:Jane Smyth, S-M-I-T-H.")),
        (NAME, ("a:Your name?", "c:This is Jane Smyth's sister.")),
        (NAME, ("a:Your name?", "c:My doctor is Jane Smyth.")),
        (NAME, ("a:Who referred you?", "c:Jane Smyth referred me.")),
        (LIVES, ("a:Your address?", "c:12 Oak Street in Dayton.")),
        (LIVES, ("a:Your address?", "c:112 Oak Street, Dayton, Ohio, 45402.")),
        (LIVES, ("a:Your address?", "c:I used to live at 12 Oak Street, Dayton, Ohio, 45402.")),
        (LIVES, ("a:Your address?", "c:We're moving to 12 Oak Street, Dayton, Ohio, 45402.")),
        (SEX, ("a:And your sex?", "c:Male.")),
        (CARD, ("a:Member ID?", "c:The group number is XYZ123456.")),
        (CARD, ("a:Member ID?", "c:X Y Z 1 2 3 4 5 6 7")),
        (PENICILLIN, ("a:Any allergies?", "c:No allergy to penicillin.")),
        (PENICILLIN, ("a:Any allergies?", "c:I take penicillin with no trouble.")),
        (PENICILLIN, ("a:You're not allergic to penicillin?", "c:Right.")),
        (PENICILLIN, ("a:Any allergies?", "c:My mother is allergic to penicillin.")),
        (LISINOPRIL, ("a:Medications?", "c:I take lisinopril, twenty milligrams.")),
        (LISINOPRIL, ("a:Medications?", "c:I don't take lisinopril 10 mg anymore.")),
        (LISINOPRIL, ("a:Medications?", "c:I'm allergic to lisinopril 10 mg.")),
        (VISIT, ("a:I have April seventh at 3:30 pm, does that work?", "c:No, I'm busy.")),
        (VISIT, ("a:I have April seventh at 3:30 pm.", "c:What about the morning?")),
        (VISIT, ("c:I'd like April 7 at 3:30 pm.", "a:Let me see.")),
        (VISIT, ("a:April 7 at 3:30 pm?", "c:Yes. Hmm, actually no, April 8 at 9 am.", "a:April 8 at 9 am then.")),
        (VISIT, ("a:I have April seventh at 3:30 am, does that work?", "c:Yes, that works.")),
    ],
)
def test_what_was_not_said_so_does_not(claim: tuple[str, str, Any], lines: tuple[str, ...]) -> None:
    assert not stands(claim, *lines)


@pytest.mark.parametrize(
    "claim",
    [
        ("patient", "managing_organization", {"ref": "ehr:Organization:1"}),
        ("patient", "marital_status", {"text": "married"}),
        ("patient", "telecom[phone|]", {"system": "phone", "value": "12"}),
        ("patient", "telecom[phone|old]", {"system": "phone", "use": "old", "value": "+12125550143"}),
        ("patient", "name", {"family": "Smyth"}),
        ("patient", "name", {"family": "Smyth", "given": ["Jane"], "prefix": ["Dr"]}),
        ("patient", "birth_date", "1985"),
        ("patient", "address[home]", {"use": "home", "line": ["1 Rue X"], "city": "Paris", "country": "FR"}),
        ("appointment", "start", "2026-04-07T20:30:00Z"),
        ("condition", "code", {"text": "Asthma"}),
        ("allergy_intolerance", "code", {"coding": [{"code": "7980"}]}),
        ("lab_result", "value", 7),
    ],
)
def test_what_no_words_of_a_caller_can_bear_out_is_left_to_people(claim: tuple[str, str, Any]) -> None:
    assert pieces(*claim) is None


@pytest.mark.parametrize(
    "lines",
    [
        ["c:Okay.", "a:Okay."] * 10_000,
        [Q, "c:212-555-0143."] * 3_000,
        ["c:" + "1 " * 60_000],
        ["c:" + "a" * 120_000],
        ["c:" + "a-" * 60_000],
        ["c:" + "my mother " * 12_000],
        ["c:" + "212-555-0143, " * 9_000],
        ["c:" + "five " * 24_000],
        ["c:" + "no wait, actually " * 7_000],
        ["c:" + "1" * 120_000],
        ["c:" + "3 of march? " * 10_000],
    ],
)
def test_long_and_strange_talk_takes_seconds_and_bears_nothing_out(lines: list[str]) -> None:
    started = time.process_time()
    assert not stands(PHONE, *lines, Q, "c:555-0143")
    assert time.process_time() - started < 15


def test_a_number_of_thousands_of_digits_is_none() -> None:
    """Python refuses to read one as a number."""
    assert not stands(VISIT, "a:When?", "c:" + "1" * 20_000 + " at 3 pm on April 7th at 3:30 pm")
