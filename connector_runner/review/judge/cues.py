"""Words that say what a statement is worth: whose it is, whether it is denied, taken back, supposed or asked. Pure.

They are wide on purpose: a cue that is no cue costs a question to a person, a cue that is missed costs a chart.
"""

from __future__ import annotations

import re
from typing import Final

from connector_runner.review.judge.claims import Kind

_RELATIVES: Final = (
    r"(?:step|grand|great-?|god|foster |half[- ]|ex[- ]?|late |own |other |little |older |younger |elderly "
    r"|new |old )*"
    r"(?:mothers?|moms?|mums?|mommy|mamas?|fathers?|dads?|daddy|papas?|parents?|husbands?|wife|wives|spouses?"
    r"|partners?"
    r"|fiancee?s?|boyfriends?|girlfriends?|sons?|daughters?|kids?|child|children|bab(?:y|ies)|toddlers?"
    r"|infants?|teens?"
    r"|brothers?|sisters?|siblings?|aunts?|aunties?|uncles?|cousins?|nieces?|nephews?|grandma|grandpa|granny"
    r"|gran|nana"
    r"|in-?laws?|famil(?:y|ies)(?! name)|twins?|friends?|buddy|buddies|room-?mates?|flat-?mates?|neighbou?rs?"
    r"|boss(?:es)?"
    r"|managers?|supervisors?|co-?workers?|colleagues?|caregivers?|carers?|aides?|landlords?|landlad(?:y|ies)"
    r"|guardians?"
    r"|next of kin|clients?|ex|ward|dogs?|cats?|pets?|sitters?|babysitters?|nann(?:y|ies)|significant other"
    r"|better half)"
)
_PROFESSIONALS: Final = (
    r"(?:assistants?|secretar(?:y|ies)|employers?|nurses?|doctors?|physicians?|dentists?|therapists?|specialists?"
    r"|lawyers?|attorneys?|pharmac(?:y|ies)|pharmacists?|schools?|teachers?)"
)
OTHER_PERSON: Final = re.compile(
    rf"\b(?:my|your|his|her|their|our|the|a|an|with|for|by|to|from|of)\s+{_RELATIVES}\b(?!\s+name\b)"
    rf"|\b(?:my|your|his|her|their|our)\s+(?:\w+\s+)?{_PROFESSIONALS}\b"
    rf"|\b(?:{_RELATIVES}|{_PROFESSIONALS})'s\b(?! \w+ing\b)"
    r"|\bemergency contact|\bon behalf\b|\b(?:some|any)(?:body|one)(?:'s| else)|\banother (?:patient|person)"
    r"|\bother (?:patient|person|half)\b|\belse's\b|\bpatient's\b|\bthe patient\b"
    r"|\b(?:he|she|him|his|her|hers|their|theirs|them|they)\b(?!\s+(?:said|told me))|\b(?:he|she|they)'(?:s|re"
    r"|d|ll)\b"
    r"|\b(?:lives|works (?:at|for|as)|takes|prefers|goes by)\b|\bis allergic\b|\b(?:mr|mrs|ms|dr)\.? [a-z]+'s\b"
    r"|\b[a-z]{2,}(?<!it)(?<!that)(?<!what)(?<!here)(?<!there)(?<!this)(?<!who)(?<!let)'s "
    r"(?!my\b|the\b|your\b|a\b|an\b|still\b)(?:\w+ )?"
    r"(?:number|phone|cell|mobile|e-?mail|address|birthday|birth|date of birth|dob|insurance|member|line|house"
    r"|place)\b"
)
OTHER_REACHED: Final = re.compile(
    r"\b(?:reach|call|text|contact|try|ring) (?!me\b|us\b|back\b|it\b|the\b|at\b|on\b|my\b|this\b|that\b|from\b|is\b"
    r"|about\b|and\b|or\b|you\b|to\b|for\b|in\b|was\b|number\b|[\d(+]|one\b|two\b|three\b|four\b|five\b|six\b|seven\b"
    r"|eight\b|nine\b|zero\b|oh\b|double\b|triple\b|your\b|today\b)[a-z]+"
)
"""Somebody else as whom to reach, in the very words that a value belongs to."""
_OF_A_PERSON: Final = (
    r"(?:[a-z']+ ){0,3}(?:numbers?|phone|cell|mobile|line|e-?mail|address|birthday|birth ?date|date of birth|dob|names?"
    r"|insurance|member|subscriber|policy|card|house|home|place|chart|account|record|file|info|information|allerg\w+"
    r"|medic\w+|prescription|appointment|visit)\b"
)
SELF: Final = re.compile(
    rf"\bmy {_OF_A_PERSON}|\b(?:mine|myself|for me|me at|reach me|call me|i live|i take|i moved|i was born|i(?:'m"
    rf"| am) (?:on"
    r"|allergic|at|a|taking)|my own)\b"
)
"""The caller speaks of himself, or of what is his."""
YOU: Final = re.compile(
    rf"\byour {_OF_A_PERSON}|\b(?:yours|yourself|who am i|who is this|who's (?:this|calling))\b"
    r"|(?<!can )(?<!could )(?<!would )(?<!will )(?<!thank )\byou(?:'re)?\b"
)
"""The agent speaks of the caller, or of what is his."""
FOR_ANOTHER: Final = re.compile(
    rf"\b(?:calling|call|phoning|here|booking|speaking|appointment|scheduling)\b[^.?!]{{0,30}}\b(?:for"
    rf"|on behalf of|about)"
    rf"\s+(?:my|our|his|her|their|a|the)\s+{_RELATIVES}\b|\bon behalf of\b|\bi(?:'m| am)\s+(?:his|her|their)\b"
    rf"|\b(?:this is|i(?:'m| am))\s+(?:the\s+)?[\w ]{{2,30}}'s\s+{_RELATIVES}\b|\bpower of attorney\b"
    rf"|\bi(?:'m| am) (?:the |a )?(?:caregiver|caretaker|guardian|parent|nurse|social worker|interpreter)\b"
)
DENIED: Final = re.compile(
    r"\b(?:not?(?! problem| worries)|never|nor|neither|none|without|cannot|nope|nah|negative|deny|denies)\b|n't\b"
    r"|\b(?:no longer|any ?more|used to|(?:my|an|the|her|his) old|former(?:ly)?|previous(?:ly)?|ex-"
    r"|moved (?:out|from|away)|back when"
    r"|disconnected|wrong|incorrect|mistaken?|outdated|out of date|expired|stopped|quit|discontinued|off of"
    r"|instead of"
    r"|rather than|except|(?:any|no|every)thing but|all but|other than|changed from|was my|used|ago|until"
    r"|once (?:had|was|lived)|rid of|cancel(?:l?ed)?"
    r"|(?:false|fake|made up|joke|joking|kidding|typo)|as a kid|growing up|was on|were on|(?:came|come|taken"
    r"|took me|weaned) off|was taking)\b"
)
SUPPOSED: Final = re.compile(
    r"\b(?:if|unless|maybe|perhaps|probably|possibly|might|could(?! you| i| we)|suppose|supposing"
    r"|hypothetically|imagine"
    r"|say it's|let's say|for example|for instance|such as|e\.g|pretend|assume|assuming|guess|not sure|unsure"
    r"|hopefully"
    r"|i think|i believe|i thought|believe|thinking|something like|or something|or so|roughly|around|about like"
    r"|either|or|should be|ought to|can't remember|don't remember|will be|going to|gonna|soon|next (?:week"
    r"|month|year)"
    r"|when i move|planning|plan to|moving|someday|eventually|(?<!that )(?<!it )would be|would have|wish|test"
    r"|testing|example"
    r"|dummy|sample"
    r"|i forget|(?:it|that|this|they)'ll|it will|after (?:the|my|our|we|i)|once (?:i|we|the)|as soon as"
    r"|when (?:i|we)|let me check|have to check|check on|double check|depends|starting|temporary|temporarily"
    r"|for now)\b"
)
GOING_TO_BE: Final = re.compile(
    r"^\W*(?:(?:yeah|yes|sure|okay|ok|um|uh|so|well|oh),? )*(?:(?:it's|that's) (?:gonna|going to) be"
    r"|(?:it|that)(?:'ll| should) be)\W*$"
)
"""No future: how many begin to name what they are asked for."""
REPORTED: Final = re.compile(
    r"\b(?:said|says|told|wrote|written|shows?|showed|listed|according|claims?|claimed|on file|your (?:system"
    r"|records?"
    r"|website|portal|letter|form)|the (?:form|letter|website|portal|recording|voicemail|message|bill|screen)"
    r"|you have"
    r"|you've got|you guys have|you got|you sent|it has|printed|pretended|asked me to say|tell you)\b"
)
TAKEN_BACK: Final = re.compile(
    r"\b(?:scratch that|(?:change|update|switch|correct|fix) (?:that|it|this|the [a-z]+|my [a-z ]{1,20}) to"
    r"|strike that|mistaken?|by mistake|(?:got|have) (?:it|that|my [a-z]+(?: [a-z]+)?) wrong"
    r"|never ?mind|forget (?:that|it|what)|ignore that|disregard|misspoke|mis-spoke"
    r"|take that back|i (?:gave|told|said|read) (?:you )?(?:the |that |it )?(?:wrong|incorrect)"
    r"|i (?:gave|told|read) you (?:my|the)\b"
    r"|made (?:that|it) up"
    r"|(?:just |only )?(?:joking|kidding)|(?:don't|do not) (?:save|record|write|put|update|change|use|keep|note"
    r"|change)"
    r"|delete that|remove that|that(?:'s| is| was) (?:wrong|incorrect|not right|not correct|not it|not mine|not my)"
    r"|(?:that|this|it)(?:'s| is| was) (?:actually )?(?:my |an |the |her |his )?(?:old|former|previous|wrong|ex)\b"
    r"|that number(?:'s| is| was) (?:wrong|old|not|no longer|disconnected)|the wrong (?:one|number|date|name"
    r"|address|email)"
    r"|mixed (?:that |those |it |them )?up|mixing (?:that |those |it |them )?up|(?:that|it)(?:'s| is"
    r"| was) (?:someone|somebody)"
    r"|leave (?:it|that) (?:as|alone)|start over|wasn't (?:right|correct)|isn't (?:right|correct|mine))\b"
)
MENDED: Final = re.compile(
    r"\b(?:wait|actually|sorry(?! about| for|,? (?:could|can|what|i))|almost|nearly|correction|oops|whoops"
    r"|hold on|hang on|i mean|i meant|make that|should (?:be"
    r"|have been)"
    r"|rather|instead|hmm+ no|no no|the (?:last|first|middle|second|third|next) (?:digits?|numbers?|letters?"
    r"|part|four|three|two)"
    r"|last (?:digit|four|two|three)|ends? (?:in|with)|it's with|with an? [a-z]\b|with (?:one|two|no)|swap"
    r"|switch|backwards"
    r"|other way|change (?:it|that)|one more time|let me (?:repeat|correct|fix|try|redo)|not (?:quite|exactly)"
    r"|off by)\b"
)
YES: Final = re.compile(
    r"(?:(?:uh|um|oh|ah|well|okay|ok|so|and),? )*"
    r"(?:yes|yeah|yep|yup|ya|uh[- ]huh|mm[- ]?hmm|correct|right|exactly|absolutely|definitely|sure|perfect|you got it"
    r"|that(?:'s| is| all)? (?:right|correct|it|mine|me|good|perfect|works|sounds|would work|will work|does|is|still)"
    r"|sounds (?:good|right|great|perfect)|looks good|works for me|great|affirmative|si|bingo|spot on|of course"
    r"|indeed|you bet|speaking|this is (?:he|she|him|her)|(?:now )?you(?:'ve)? got it|that'?s the one"
    r"|still (?:there|is|do|am|good|right|correct)"
    r"|(?:you|i|it|that|this) (?:sure |certainly )?(?:did|do|does|is|am|have|has)(?! not))\b(?!n't)"
)
ASKS_FOR: Final = re.compile(
    r"\b(?:may|can|could) i (?:please )?(?:speak|talk)\b|\b(?:there|available|home|around|in)\W*$|\btrying to reach\b"
    r"|\b(?:looking|calling|asking|here) for\b|\bdo you know\b|\bput .* on\b"
)
IDENTITY: Final = re.compile(r"\b(?:speaking|this is|it's me|that's me|that is me|it is me|i am|i'm|you are|my name)\b")
CHANGED: Final = re.compile(
    r"\bany(?:thing)? changes?\b|\bany changes? (?:to|in|with)\b|\bha(?:s|ve) (?:\w+ ){1,3}changed\b"
    r"|\bdid (?:\w+ ){1,3}change\b"
)
"""A question that a no answers as a yes answers others."""
NOTED: Final = re.compile(
    r"(?:(?:um|oh|ah|well|so|and),? )*(?:ok|okay|fine|thanks?|thank you|wonderful|awesome|excellent|cool|good|lovely"
    r"|all right|alright|see you|i'll (?:be|see)|got it|noted|nice)\b"
)
"""A caller who takes note of what the agent says is booked."""
CONFIRMS: Final = re.compile(
    r"\b(?:right|correct|is that (?:it|you|you\?|accurate|ok|okay|good|still)|did i (?:get|have|hear|understand"
    r"|read|spell)"
    r"|have i got|do i have|sound (?:right|good|ok|okay)|look (?:right|good)|confirm|verify|accurate|yes"
    r"|still (?:current|good"
    r"|valid|right|correct|the|your)|work for you|does that work|(?:shall|should|can|may) i (?:book|schedule"
    r"|reserve|put|pencil|set|keep|use)|okay|ok|would that work|match|got it|(?:would you like"
    r"|do you want) (?:that|this|it|me to (?:book|schedule))(?: one| time| slot)?)\b"
)
ANOTHER_QUESTION: Final = re.compile(
    r"\b(?:would you|do you|did you|can you|could you|can i|may i|could i|shall|should we|anything else|want|like to"
    r"|have you|are you|(?:is|are) there|what|when|where|which|who|how|why)\b"
)
BOOKED: Final = re.compile(
    r"\b(?:booked|scheduled|confirmed|all set|(?:got|have|put|moved) you (?:down|in)|moved you|see you"
    r"|you're (?:in|set)|reserved)\b|\bit is\W*$"
)
ADDRESSED: Final = re.compile(
    r"\b(?:ignore|disregard|forget|override|bypass) (?:\w+ ){0,4}(?:instructions?|rules|prompts?|guidelines|above)\b"
    r"|(?:\b|\\n)(?:system|assistant|developer|judge|reviewer|user|agent|caller|patient|customer|verdict|json"
    r"|output)\s*[:=>}\]]"
    r"|\b(?:as the|dear|attention|note to|message to|hey|hello) (?:the )?(?:judge|reviewer|verifier|model|ai"
    r"|llm|validator|auditor)\b"
    r"|\bmark (?:\w+ ){0,6}(?:supported|verified|confirmed|approved|true)\b|\b(?:verdict|supported|contradicted"
    r"|unclear)\b"
    r"|\bsystem prompt\b|\blanguage model\b|\b(?:new|previous|prior|following|updated) instructions?\b|</?\w+>"
    r"|\{\s*\"|```"
    r"|\bpre-?verified\b|\bconfidence (?:is|of|to|=)|\brespond (?:only )?with\b|\btranscript (?:is|was|ends|begins)\b"
    r"|\b(?:all|every|these) (?:fields?|claims?|values?) (?:are|is|as)\b|\bend of (?:call|transcript|conversation)\b"
)
_NAMING: Final = re.compile(
    r"\b(?:names?|i'm|i am|this is|is this|yours|it's|speaking|speak|spell(?:ed|ing)?|call me|who am i|who is this"
    r"|who is calling"
    r"|who's (?:this|calling)|here|under|you're|you are|look(?:ing)? (?:under|for)|talking (?:to|with))\b"
)
CONTEXT: Final[dict[Kind, re.Pattern[str]]] = {
    "phone": re.compile(r"\b(?:phones?|numbers?|cells?|mobile|call(?:ing)?|reach|text|contact|landline|line"
        r"|digits|ring|cellphone|voicemail|messages?"
        r"|reminders?|yours)\b"),
    "fax": re.compile(r"\bfax\b"),
    "email": re.compile(r""),
    "member_id": re.compile(r"\b(?:member|subscriber|policy|insurance|id|card|identification)\b"),
    "birth": re.compile(r"\b(?:birth ?(?:day|date)?|born|dob|d\.o\.b|b-?day|birthdate|yours)\b"),
    "start": re.compile(r""),
    "given": _NAMING,
    "family": _NAMING,
    "gender": re.compile(r"\b(?:gender|sex|male|female|i'm a|i am a)\b"),
    "street": re.compile(r"\b(?:address|live|living|home|reside|mail|moved (?:to|into)|street|house|place"
        r"|located|ship(?:ped)?|send|deliver"
        r"|still (?:at|there|in))\b"),
    "city": re.compile(r""),
    "state": re.compile(r""),
    "postal_code": re.compile(r""),
    "allergy": re.compile(r"\b(?:allerg\w*|react(?:ion|s|ed)?|anaphyla\w*|hives|break out)\b"),
    "medication": re.compile(r"\b(?:take|taking|prescri\w+|refills?|medications?|medicines?|meds|dose|dosage|on|list"
        r"|tablets?|pills?|run(?:ning)? (?:out|low))\b"),
}  # fmt: skip
FOREIGN: Final[dict[Kind, re.Pattern[str]]] = {
    "phone": re.compile(
        r"\b(?:fax|pager|social|ssn|invoice|tracking|routing|member|subscriber|group|policy|reference|ticket"
        r"|confirmation"
        r"|zip|pin|(?:claim|case|order|account|card|license|record|extension) (?:number|id|code|is))\b"
    ),
    "fax": re.compile(r"\b(?:pager|reference|claim|account)\b"),
    "member_id": re.compile(r"\b(?:group|claim|reference|phone|confirmation|order|social|license|rx|bin|pcn)\b"),
    "birth": re.compile(r"\b(?:appointment|surgery|wedding|anniversary|admitted|discharged|visit|started|since)\b"),
    "start": re.compile(r"\b(?:born|birth ?(?:day|date)?|dob|last (?:visit|time|appointment)|surgery)\b"),
    "street": re.compile(r"\b(?:your (?:office|clinic|location)|the office|billing|business address|their office)\b"),
    "medication": re.compile(r"\b(?:allerg\w*|react(?:ion|ed)?)\b"),
    "email": re.compile(r"\b(?:website|support email)\b"),
    "allergy": re.compile(r"\b(?:take|taking|tolerate|outgrew|outgrown)\b"),
}  # fmt: skip
LABELS: Final = {
    "mobile": re.compile(r"\b(?:cell(?:phone| phone)?|mobile|iphone|smartphone)\b"),
    "home": re.compile(r"\b(?:home|house|landline|residence|live|living|reside)\b"),
    "work": re.compile(
        r"\b(?:i work|(?:at|from|my|your|her|his|for) (?:work|office|business|job)"
        r"|(?:work|office|business|job) (?:phone|number|line|cell|extension|address|e-?mail|one))\b"
        r"|^(?:and )?(?:for )?work\?"
    ),
}
TOPICS: Final = {
    "phone": re.compile(
        r"\b(?:phone|cell|mobile|callback|landline|(?:contact|number)\b.{0,12}\b(?:reach|call)"
        r"|contact number)"
    ),
    "email": re.compile(r"\be-?mail"),
    "birth": re.compile(r"\b(?:birth|born\b|dob\b|b-?day)"),
    "address": re.compile(r"\b(?:address(?:es)?\b|live\b|living\b|zip\b|street\b|mailing)"),
    "name": re.compile(r"\b(?:names?\b|who am i speaking|spell)"),
    "insurance": re.compile(r"\b(?:insurance|member|subscriber|policy)\b"),
    "allergy": re.compile(r"\b(?:allerg|react)"),
    "medication": re.compile(r"\b(?:medic|prescri|refill|taking\b|dos(?:e|age))"),
    "appointment": re.compile(r"\b(?:appointment|schedul|book|come in\b|visit\b|see you\b)"),
}
TOPIC_OF: Final[dict[Kind, str]] = {
    "phone": "phone",
    "fax": "phone",
    "email": "email",
    "birth": "birth",
    "street": "address",
    "city": "address",
    "state": "address",
    "postal_code": "address",
    "given": "name",
    "family": "name",
    "gender": "name",
    "member_id": "insurance",
    "allergy": "allergy",
    "medication": "medication",
    "start": "appointment",
}
EVERYTHING: Final = re.compile(
    r"\b(?:everything|anything i|all (?:of )?(?:that|this|it)|whole thing|what i (?:said|told|gave)"
    r"|made .{0,12}\bup\b|joking"
    r"|kidding|earlier|before that|(?:don't|do not) (?:save|record|write|change|update))\b"
)
UNSEEN: Final = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069]")
"""Characters that show nothing, or turn the others round: words with these inside are not what they look like."""
_ENGLISH: Final = re.compile(
    r"\b(?:the|is|my|it's|you|your|to|and|of|for|what|that|in|have|can|i|please|would|are|with|at|on|yes"
    r"|thanks?|right"
    r"|correct|be|was|this|do|it|me|name|number|phone|birth|okay|ok|no|so|need|like|address|email|calling|call)\b"
)
_OTHER_LANGUAGE: Final = re.compile(
    r"\b(?:es|mi|el|los|las|del|que|usted|su|numero|gracias|por|favor|nacimiento|correo|telefono|tengo|soy|una"
    r"|con|para"
    r"|nombre|direccion|cual|si|pero|ese|esta|madre|mama|esposo|hija|hijo|je|mon|ma|est|vous|merci|oui|votre|numero"
    r"|suis|une|dans|pas|mais|mere|ich|ist|mein|meine|und|der|die|das|nein|ja|bitte|nicht|nummer|aber|meiner"
    r"|minha|meu"
    r"|nao|sim|obrigado|voce|mia|il|sono|grazie|della|mio)\b"
)


def is_english(text: str) -> bool:
    """Whether a folded text can be read with these cues; what has hardly a word in it can."""
    letters = sum(character.isalpha() for character in text)
    latin = sum("a" <= character <= "z" for character in text)
    if letters - latin > max(3, letters // 10):
        return False
    other = len(_OTHER_LANGUAGE.findall(text))
    return other < 2 or other < len(_ENGLISH.findall(text))
