"""Where the invented people live, and the numbers they are called by."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from .chances import long_tail
from .fhir_json import Json

# City, state, the first of its postal codes, and how many follow one another: the more, the more people live there.
_TOWNS: Final = (
    ("New York", "NY", "10001", 40),
    ("Brooklyn", "NY", "11201", 39),
    ("Philadelphia", "PA", "19102", 53),
    ("Pittsburgh", "PA", "15201", 43),
    ("Cleveland", "OH", "44101", 44),
    ("Baltimore", "MD", "21201", 39),
    ("Atlanta", "GA", "30303", 43),
    ("Columbus", "OH", "43201", 35),
    ("Boston", "MA", "02108", 28),
    ("Charlotte", "NC", "28202", 16),
    ("Buffalo", "NY", "14201", 28),
    ("Miami", "FL", "33125", 38),
    ("Jacksonville", "FL", "32202", 24),
    ("Cincinnati", "OH", "45202", 42),
    ("Bronx", "NY", "10451", 25),
    ("Richmond", "VA", "23219", 20),
    ("Rochester", "NY", "14604", 23),
    ("Toledo", "OH", "43604", 20),
    ("Tampa", "FL", "33602", 24),
    ("Orlando", "FL", "32801", 20),
    ("Washington", "DC", "20001", 20),
    ("Raleigh", "NC", "27601", 17),
    ("Hartford", "CT", "06103", 18),
    ("Norfolk", "VA", "23502", 17),
    ("Akron", "OH", "44301", 18),
    ("Dayton", "OH", "45402", 15),
    ("Virginia Beach", "VA", "23451", 14),
    ("Staten Island", "NY", "10301", 14),
    ("Syracuse", "NY", "13202", 14),
    ("Paterson", "NJ", "07501", 14),
    ("Alexandria", "VA", "22301", 15),
    ("Durham", "NC", "27701", 13),
    ("Providence", "RI", "02902", 11),
    ("Greensboro", "NC", "27401", 10),
    ("Wilmington", "DE", "19801", 10),
    ("Silver Spring", "MD", "20901", 10),
    ("Worcester", "MA", "01602", 9),
    ("Harrisburg", "PA", "17101", 13),
    ("New Haven", "CT", "06510", 10),
    ("Jersey City", "NJ", "07302", 10),
    ("Albany", "NY", "12202", 10),
    ("Yonkers", "NY", "10701", 10),
    ("Scranton", "PA", "18503", 10),
    ("Savannah", "GA", "31401", 9),
    ("Springfield", "MA", "01103", 7),
    ("Manchester", "NH", "03101", 9),
    ("Newark", "NJ", "07102", 7),
    ("Elizabeth", "NJ", "07201", 8),
    ("Arlington", "VA", "22201", 9),
    ("Erie", "PA", "16501", 11),
    ("Reading", "PA", "19601", 11),
    ("Allentown", "PA", "18101", 9),
    ("Newton", "MA", "02458", 11),
    ("Bridgeport", "CT", "06604", 7),
    ("Burlington", "VT", "05401", 8),
    ("Stamford", "CT", "06901", 7),
    ("Waterbury", "CT", "06702", 9),
    ("Winston-Salem", "NC", "27101", 7),
    ("Roanoke", "VA", "24011", 9),
    ("Annapolis", "MD", "21401", 9),
    ("Augusta", "GA", "30901", 9),
    ("York", "PA", "17401", 8),
    ("Schenectady", "NY", "12302", 8),
    ("Rockville", "MD", "20850", 6),
    ("New Bedford", "MA", "02740", 7),
    ("White Plains", "NY", "10601", 7),
    ("Haverhill", "MA", "01830", 6),
    ("Bethlehem", "PA", "18015", 6),
    ("Norwalk", "CT", "06850", 7),
    ("Lowell", "MA", "01850", 5),
    ("Cambridge", "MA", "02138", 5),
    ("Lynn", "MA", "01901", 5),
    ("Brockton", "MA", "02301", 5),
    ("Fall River", "MA", "02720", 5),
    ("Framingham", "MA", "01701", 5),
    ("Nashua", "NH", "03060", 5),
    ("New Rochelle", "NY", "10801", 5),
    ("Frederick", "MD", "21701", 4),
    ("Camden", "NJ", "08102", 4),
    ("Dover", "DE", "19901", 4),
    ("Charlottesville", "VA", "22901", 4),
    ("Lawrence", "MA", "01840", 4),
    ("Waltham", "MA", "02451", 4),
    ("Warwick", "RI", "02886", 4),
    ("Troy", "NY", "12180", 4),
    ("Quincy", "MA", "02169", 3),
    ("Somerville", "MA", "02143", 3),
    ("Pawtucket", "RI", "02860", 3),
    ("Portland", "ME", "04101", 3),
    ("Concord", "NH", "03301", 3),
    ("New Britain", "CT", "06051", 3),
    ("Lancaster", "PA", "17601", 3),
    ("Cranston", "RI", "02920", 2),
    ("Danbury", "CT", "06810", 2),
    ("Utica", "NY", "13501", 2),
    ("Trenton", "NJ", "08608", 4),
    ("Bangor", "ME", "04401", 1),
    ("Lewiston", "ME", "04240", 1),
    ("Augusta", "ME", "04330", 1),
    ("Rutland", "VT", "05701", 1),
    ("Montpelier", "VT", "05602", 1),
    ("Keene", "NH", "03431", 1),
    ("Dover", "NH", "03820", 1),
    ("Portsmouth", "NH", "03801", 1),
    ("Ithaca", "NY", "14850", 1),
    ("Malden", "MA", "02148", 1),
    ("Medford", "MA", "02155", 1),
    ("Salem", "MA", "01970", 1),
    ("Pittsfield", "MA", "01201", 1),
    ("Plymouth", "MA", "02360", 1),
    ("Newport", "RI", "02840", 1),
    ("Mystic", "CT", "06355", 1),
)
_POSTAL_CODES: Final = tuple(
    (city, state, f"{int(first) + place:05d}") for city, state, first, count in _TOWNS for place in range(count)
)
_STREETS: Final = long_tail(
    "Main Park Oak Maple Washington Cedar Elm Pine Lake Hill Walnut Spring North Ridge Church Willow Mill Sunset "
    "Railroad Jackson Cherry West South Lincoln Meadow River Franklin Forest Highland Jefferson Center Madison Adams "
    "Chestnut Dogwood Hickory Birch Monroe Pleasant Valley College Laurel Poplar Green Sycamore Spruce Cottage School "
    "Prospect Union Grove Liberty Broad Central Orchard Summit Academy Airport Alder Amherst Apple Arbor Arlington "
    "Ash Ashland Aspen Auburn Autumn Azalea Baker Bank Barrett Bay Bayberry Beach Beacon Bear Beaver Beech Bell "
    "Belmont Bennett Berkeley Berkshire Birchwood Blackberry Bluebird Bow Boylston Bradford Branch Brentwood Briar "
    "Bridge Brighton Bristol Broadway Brook Brookfield Brookside Buckingham Buena_Vista Burr Butternut Cambridge "
    "Canal Canterbury Canyon Cardinal Carriage Castle Catalpa Cedarwood Charles Charter Chatham Chelsea Chester "
    "Circle Clark Clay Clearwater Clearview Cliff Clinton Clover Coach Cobblestone Coleman Colonial Columbia Commerce "
    "Commonwealth Concord Congress Coolidge Copper Cottonwood Country Court Cranberry Creek Creekside Crescent Crest "
    "Crestview Cross Crystal Custom_House Cypress Daisy Dale Dartmouth Deer Deerfield Delaware Depot Devon Division "
    "Dover Dudley Duncan Eagle East Eastern Eden Edgewood Elmhurst Elmwood Emerald Essex Evergreen Exeter Factory "
    "Fair Fairfield Fairmount Fairview Falcon Farm Farmington Fern Ferry Field Fieldstone Fern_Hill Foundry Fountain "
    "Fox Foxglove Freedom Front Fulton Garden Garfield Garrison Gate George Ginger Glen Glendale Glenwood Golf "
    "Granite Grand Grant Gray Greenbrier Greenfield Greenwood Hampton Harbor Harborside Harmony Harrison Harvard "
    "Harvest Hawk Hawthorne Hazel Heather Hemlock Henry Heritage Heron Hidden High Hillcrest Hillside Hilltop Holly "
    "Homestead Honeysuckle Hope Howard Hudson Hunter Hunters_Run Huron Imperial Indigo Iris Iron Ivy James Jasmine "
    "Jay John Juniper Kensington Kent King Kingfisher Kings Knoll Lafayette Lakeshore Lakeview Lantern Larch Lark "
    "Larkspur Lawn Lawrence Ledge Lexington Lilac Linden Locust Long Longview Lower Madrone Magnolia Mallard Manor "
    "Maplecrest Maplewood Maria Market Marlborough Marsh Marshall Mason Mayflower Meadowbrook Meadowlark Merrimack "
    "Middle Milk Millpond Mistletoe Mockingbird Monument Morgan Morning_Glory Morris Mountain Mulberry Myrtle Nassau "
    "New Newbury Newport Northfield Northgate Norfolk Norway Oakdale Oakland Oakwood Ocean Old_County Old_Post Olive "
    "Overlook Owl Oxford Palmer Paper_Mill Paradise Partridge Peach Pearl Pebble Penn Perry Pheasant Pigeon Pinehurst "
    "Pinewood Pioneer Plantation Plaza Plum Plymouth Pond Porter Portland Prairie Primrose Princeton Providence Quail "
    "Quaker Quarry Queen Rainbow Raven Ravine Redwood Regent Richmond Ridgeway River_Birch Riverbend Riverside Robin "
    "Rock Rockland Rolling Rose Rosewood Round_Hill Royal Ruby Russell Saddle Saint_James Saltmarsh Sand Sandpiper "
    "Sandy Sassafras School_House Scenic Second Sequoia Seneca Shady Sheffield Shepherd Sheridan Sherman Sherwood "
    "Shore Silver Skyline Somerset Southgate Sparrow Spring_Garden Springfield Stable Stanton State Station Stewart "
    "Stone Stonebridge Stonewall Stratford Suffolk Sugar Sugar_Maple Sullivan Sumac Summer Sun Sunflower Sunnyside "
    "Sunrise Surrey Swan Sweetbriar Tamarack Tanglewood Tannery Taylor Teal Temple Terrace Thistle Thomas Thornbury "
    "Thornton Timber Tower Trinity Trillium Tulip Turner Turnpike Turtle Twin_Oaks Upland Van_Buren Vernon Victoria "
    "View Village Vine Vineyard Violet Virginia Vista Wagon Wall Wallace Walnut_Hill Ward Warren Warwick Water "
    "Waterford Waverly Webster Wellington Western Westgate Westminster Wharf Wheeler White Whitney Wildflower "
    "Wildwood William Williams Wilson Winchester Windmill Windsor Winter Winthrop Wisteria Wolf Wood Woodbine "
    "Woodland Woodlawn Woodside Wren Wright Yarmouth York Young",
    flat=30,
)
_KINDS: Final = ("Street", "Avenue", "Road", "Lane", "Drive", "Court", "Terrace", "Place", "Way")
_APARTMENTS: Final = 0.3
"""Of households, how many live in one."""
# North America's numbering plan has no area 555, which Synthea writes, and none with 9 as its second digit: those are
# kept for when numbers are made longer. With one area alone, every sixth of a million had a number of a stranger's.
_AREAS: Final = (555, *(hundred + 90 + last for hundred in range(200, 1000, 100) for last in range(10)))
# The first three digits after the area: no exchange of North America begins with 0 or 1, or ends in 11.
_EXCHANGES: Final = tuple(number for number in range(200, 1000) if number % 100 != 11)


@dataclass(frozen=True, slots=True)
class Address:
    """A place in the United States."""

    line: str
    city: str
    state: str
    postal_code: str

    def resource(self) -> Json:
        """As FHIR writes it."""
        return {
            "line": [self.line],
            "city": self.city,
            "state": self.state,
            "postalCode": self.postal_code,
            "country": "US",
        }


def house(rng: random.Random) -> Address:
    """A building; low house numbers are the commonest, as each street has them."""
    city, state, postal_code = rng.choice(_POSTAL_CODES)
    number = int(10 ** (1 + 2.9 * rng.random())) - 9
    return Address(f"{number} {_STREETS.draw(rng)} {rng.choice(_KINDS)}", city, state, postal_code)


def dwelling(rng: random.Random) -> Address:
    """Where a household lives: a house, or an apartment in one."""
    found = house(rng)
    if rng.random() >= _APARTMENTS:
        return found
    return Address(f"{found.line} Apt {rng.randrange(1, 60)}", found.city, found.state, found.postal_code)


def phone_digits(rng: random.Random) -> str:
    """Ten digits, which are nobody's (see _AREAS)."""
    area, number = divmod(int(rng.random() * len(_AREAS) * len(_EXCHANGES) * 10_000), len(_EXCHANGES) * 10_000)
    exchange, line = divmod(number, 10_000)
    return f"{_AREAS[area]}{_EXCHANGES[exchange]}{line:04d}"


def phone_text(rng: random.Random, digits: str) -> str:
    """The same number as different clerks write it."""
    area, exchange, line = digits[:3], digits[3:6], digits[6:]
    form = rng.choice(("({0}) {1}-{2}", "{0}-{1}-{2}", "+1 {0} {1} {2}", "+1-{0}-{1}-{2}", "{0}.{1}.{2}"))
    return form.format(area, exchange, line)
