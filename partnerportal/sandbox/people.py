"""Invented people and companies, the same ones every time. Own word lists; nobody here is real."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from .directory import User, guid

GIVEN = (
    "Abena Adrian Aiko Alma Amara Anouk Arjun Astrid Basil Beatriz Bela Bram Callum Camila Cedric Chiara Dalia Dario "
    "Dewi Edda Elio Emre Esme Farah Felix Freya Gemma Goran Hana Henrik Hilde Idris Ilse Imani Ivo Jana Jarek Jonas "
    "Kaia Kamal Keiko Lars Leila Linus Lucia Magnus Mairead Malik Marta Mateo Mina Nadia Niels Noor Odile Olga Omar "
    "Otis Paloma Pavel Petra Quentin Rafael Ravi Rosa Ruben Sanna Selim Sigrid Soren Talia Tariq Tomas Uma Viktor "
    "Wanda Xenia Yara Yusuf Zofia"
).split()
FAMILY = (
    "Abara Achterberg Adeyemi Almeida Anders Arvidson Balogun Barros Becker Benali Bergstrom Bianchi Brandt Calloway "
    "Castell Cermak Dahl Delacroix Demir Dimitrov Dunmore Ekwueme Eriksen Faraday Ferreira Fontaine Galvan Gellert "
    "Haddad Halloran Hartmann Hossain Ibarra Iversen Jansen Kaplan Karlsen Kimura Kovac Kruger Lachance Lindqvist "
    "Lombard Mahmoud Marchetti Mbeki Mendes Moreau Nakata Novak Nwosu Oduya Okonkwo Olsson Orlov Paredes Petrov "
    "Quiroga Raman Rasmussen Reyes Rinaldi Sandoval Schaefer Sokolov Sorensen Szabo Takeda Tanaka Thorne Ueda Vargas "
    "Verhoeven Vesely Wagner Winther Yamada Yilmaz Zoric"
).split()

FIRST_WORD = (
    "Alder Amber Anchor Aspen Atlas Beacon Birch Blue Bramble Bright Canal Cedar Chalk Cinder Cobalt Copper Coral "
    "Crescent Delta Dune Eastgate Elm Ember Fern Field Flint Forge Garnet Glacier Granite Green Harbour Hazel Heath "
    "Heron Highland Indigo Iron Island Ivory Jasper Juniper Kestrel Lagoon Lantern Larch Linden Maple Marble Meadow "
    "Mill Mistral Moss North Oak Olive Opal Orchard Osprey Pebble Pine Poplar Quarry Quartz Raven Reed Ridge River "
    "Rowan Saffron Sage Silver Slate Spruce Stone Summit Tern Thistle Timber Valley Velvet Vine Walnut West Willow"
).split()
SECOND_WORD = (
    "Analytics Architects Bakery Biotech Books Brewing Builders Carpentry Catering Ceramics Charter Clinics Clothing "
    "Coffee Consulting Cycles Dairy Dental Design Energy Engineering Events Farms Films Finance Fisheries Foods "
    "Freight Furniture Gallery Gardens Glassworks Health Holdings Hotels Housing Instruments Insurance Joinery Labs "
    "Legal Lighting Logistics Machinery Marine Materials Media Metals Mobility Motors Music Networks Optics Outdoor "
    "Paper Pharma Plastics Power Press Properties Rail Recycling Research Robotics Schools Security Shipping Software "
    "Solar Sports Studios Supplies Surveys Systems Telecom Textiles Theatre Timber Tools Toys Travel Water Wines Yards"
).split()

COUNTRIES = (
    ("US", "United States", "Springfield"),
    ("GB", "United Kingdom", "Riverton"),
    ("DE", "Germany", "Neustadt"),
    ("FR", "France", "Villeneuve"),
    ("NL", "Netherlands", "Nieuwstad"),
    ("SE", "Sweden", "Nystad"),
    ("ES", "Spain", "Villanueva"),
    ("IT", "Italy", "Cittanova"),
    ("PL", "Poland", "Nowe Miasto"),
    ("CA", "Canada", "Lakeside"),
    ("AU", "Australia", "Port Haven"),
    ("VN", "Vietnam", "Thanh An"),
    ("JP", "Japan", "Minamihara"),
    ("BR", "Brazil", "Porto Claro"),
    ("ZA", "South Africa", "Bergrivier"),
)

# A fixed past, so that a seed's dates do not depend on the day it is planted.
SEED_DAY = datetime(2026, 6, 1, 8, 0, tzinfo=UTC)


def company_name(rng: random.Random, taken: set[str]) -> str:
    while True:
        name = f"{rng.choice(FIRST_WORD)} {rng.choice(SECOND_WORD)}"
        if name in taken:
            name = f"{rng.choice(FIRST_WORD)} {name}"
        if name not in taken:
            taken.add(name)
            return name


def slug(name: str) -> str:
    return "".join(c for c in name.lower() if c.isascii() and c.isalnum())[:32] or "company"


def users(
    customer_id: str,
    count: int,
    domain: str,
    custom_domain: str,
    country: str,
    *,
    today: datetime,
    synced: bool = False,
) -> Iterator[User]:
    """`count` people of one customer: the same for the same customer, whoever asks and whenever."""
    rng = random.Random(f"users of {customer_id}")  # noqa: S311 - invented people, not secrets
    taken: dict[str, int] = {}
    for seq in range(1, count + 1):
        given, family = rng.choice(GIVEN), rng.choice(FAMILY)
        local = f"{given}.{family}".lower()
        taken[local] = number = taken.get(local, 0) + 1
        if number > 1:
            local = f"{local}{number}"
        dice = rng.random()
        at = custom_domain if custom_domain and dice < 0.6 else domain
        yield User(
            id=guid(rng),
            seq=seq,
            upn=f"{local}@{at}",
            display_name=f"{given} {family}",
            first_name=given,
            last_name=family,
            usage_location=country if dice < 0.92 else "",
            phone=f"+00 555 {rng.randrange(1000, 9999)}" if dice < 0.35 else "",
            immutable_id=f"imm{rng.getrandbits(48):012x}==" if synced else "",
            synced_at=SEED_DAY + timedelta(minutes=seq % 1440) if synced else None,
            deleted_at=today - timedelta(days=1 + seq % 20) if dice > 0.985 else None,
        )
