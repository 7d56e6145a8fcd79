"""Words for COCO's 80 object categories, and the categories that a text mentions.

The words are ours: for every category the ways in which English captions commonly name it. Numbers computed with them
are comparable with each other, not with those of another list: give that with ``--synonyms``, a line for each category,
its name first, other words behind it, separated by commas (the form of CHAIR's own list).

A text is lower-cased and split into words; the lemmatiser is a rule: plural endings are taken off. At every place the
longest name wins, so that a "hot dog" is no dog and a "toilet seat" one toilet. Names that only look like a category,
such as "dog house", are in `NOT_MEANT`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from prefgen.errors import UsageError

LEMMATISER = "rules"
WORDS = """
person: man, woman, boy, girl, child, kid, baby, toddler, adult, guy, lady, gentleman, people, human, player, rider,
 skier, snowboarder, surfer, skateboarder, skater, cyclist, bicyclist, biker, motorcyclist, driver, passenger,
 pedestrian, worker, chef, cook, waiter, waitress, soldier, policeman, police officer, officer, firefighter, fireman,
 doctor, nurse, student, teacher, athlete, batter, pitcher, catcher, umpire, referee, spectator, customer, vendor,
 tourist, musician, bride, groom, couple, crowd, audience, family, friend, mother, father, mom, dad, son, daughter,
 brother, sister, husband, wife, farmer, fisherman, cowboy, clown, teenager, infant, individual, shopper, traveler,
 traveller, swimmer, goalkeeper, goalie, jockey, shepherd, bystander, onlooker
bicycle: bike, cycle, tricycle, mountain bike
car: automobile, sedan, suv, taxi, cab, taxicab, minivan, van, jeep, hatchback, convertible, police car, limousine,
 limo
motorcycle: motorbike, motor bike, motor cycle, scooter, moped, dirt bike
airplane: plane, aeroplane, aircraft, jet, airliner, jetliner, biplane, jumbo jet, fighter jet, seaplane, passenger
 jet
bus: double decker, double decker bus, school bus, minibus, tour bus, coach bus, trolleybus
train: locomotive, tram, streetcar, subway train, railcar, freight train, passenger train, steam engine, train car
truck: lorry, pickup, pickup truck, fire truck, firetruck, fire engine, semi, semi truck, dump truck, tow truck, food
 truck, garbage truck, tractor trailer
boat: ship, sailboat, sail boat, canoe, kayak, rowboat, row boat, yacht, ferry, barge, speedboat, motorboat, gondola,
 dinghy, raft, vessel, tugboat, fishing boat
traffic light: stoplight, stop light, traffic signal, street signal, signal light
fire hydrant: hydrant, fireplug
stop sign:
parking meter:
bench: park bench, pew
bird: pigeon, seagull, gull, duck, goose, geese, swan, parrot, owl, eagle, hawk, crow, sparrow, chicken, rooster, hen,
 peacock, ostrich, flamingo, penguin, pelican, heron, turkey, finch, robin, dove, cardinal, hummingbird, parakeet,
 duckling, chick
cat: kitten, kitty, tabby, feline
dog: puppy, pup, canine, terrier, poodle, dachshund, labrador, retriever, bulldog, pug, husky, beagle, chihuahua,
 corgi, hound, golden retriever, german shepherd, sheepdog, dalmatian, spaniel
horse: pony, foal, stallion, mare, colt, mustang
sheep: lamb, ram, ewe
cow: cattle, bull, calf, ox, oxen, steer, heifer
elephant:
bear: polar bear, grizzly, grizzly bear, brown bear, black bear, bear cub, panda
zebra:
giraffe:
backpack: rucksack, knapsack, back pack, book bag
umbrella: parasol
handbag: purse, hand bag, pocketbook, tote, tote bag, shoulder bag
tie: necktie, neck tie, bow tie, bowtie
suitcase: luggage, briefcase, brief case, travel bag
frisbee: flying disc, flying disk, frisbee disc
skis: ski
snowboard: snow board
sports ball: ball, baseball, basketball, soccer ball, tennis ball, football, volleyball, rugby ball, soccerball
kite: parasail
baseball bat: bat
baseball glove: baseball mitt, catcher's mitt, mitt
skateboard: skate board, longboard
surfboard: surf board, paddleboard, paddle board, boogie board, bodyboard
tennis racket: tennis racquet, racket, racquet
bottle: water bottle, wine bottle, beer bottle, glass bottle, soda bottle
wine glass: wineglass, champagne glass, wine goblet, goblet, champagne flute
cup: mug, coffee cup, teacup, tea cup, paper cup, plastic cup, coffee mug
fork:
knife: knives, butter knife, steak knife
spoon: teaspoon, tablespoon, ladle
bowl:
banana:
apple:
sandwich: sub sandwich, panini, burger, hamburger, cheeseburger, sub
orange: tangerine, clementine, mandarin, orange slice
broccoli:
carrot:
hot dog: hotdog, frankfurter
pizza: pizza slice, slice of pizza
donut: doughnut, bagel
cake: cupcake, cheesecake, birthday cake, wedding cake, layer cake
chair: armchair, rocking chair, office chair, lawn chair, folding chair, seat, stool, recliner, high chair, barstool
couch: sofa, loveseat, love seat, settee, futon
potted plant: houseplant, house plant, pot plant, plant, flower pot, flowerpot
bed: bunk bed, mattress
dining table: table, desk, kitchen table, coffee table, side table, picnic table, end table
toilet: commode, toilet seat, toilet bowl, urinal
tv: television, television set, monitor, tv screen, tv set, flat screen, computer monitor, computer screen
laptop: laptop computer, notebook computer, macbook
mouse: computer mouse, mice, wireless mouse
remote: remote control, tv remote, controller, game controller, wii remote, wiimote
keyboard: computer keyboard
cell phone: cellphone, mobile phone, phone, smartphone, smart phone, iphone, mobile, telephone
microwave: microwave oven
oven: stove, stovetop, stove top, range oven
toaster: toaster oven
sink: washbasin, wash basin, kitchen sink, bathroom sink, basin
refrigerator: fridge, freezer, mini fridge
book: novel, textbook, paperback, magazine
clock: clock face, alarm clock, clock tower, wall clock, grandfather clock
vase: flower vase
scissors: scissor, pair of scissors, shears
teddy bear: teddy, stuffed bear, stuffed animal, plush bear
hair drier: hair dryer, hairdryer, blow dryer, hairdrier
toothbrush: tooth brush, electric toothbrush
"""
NOT_MEANT = """
dog house, bird house, birdhouse, bird feeder, cat food, dog food, orange juice, orange color, orange colour, bed
sheet, train track, train station, train platform, bus stop, bus station, boat dock, car park, parking lot, horse
carriage, pizza box, cake stand, book shelf, bookshelf, book case, sheep skin, bear hug, cow bell, baseball field,
baseball game, baseball player, baseball cap, baseball uniform, tennis court, tennis player, football field, soccer
field, basketball court, soccer player, bottle cap, bottle opener, power plant, table cloth, tablecloth, table top,
chair lift, ski lift, ski slope, ski resort, ski pole, ski jacket, phone booth, phone number, flower bed, truck bed,
river bed, fire place, oven mitt, family room, ball room, ball park, ball game, apple computer, coffee shop, batter's
box, seat belt, car seat cover, kite string, remote area, remote location, remote place, mouse pad, mousepad
"""
_TOKEN = re.compile(r"[a-z]+(?:'[a-z]+)?")
_PLURALS = {"people": "people", "geese": "goose", "mice": "mouse", "knives": "knife", "children": "child", "men": "man"}
_PLURALS |= {
    "women": "woman",
    "calves": "calf",
    "wolves": "wolf",
    "buses": "bus",
    "oxen": "ox",
    "skis": "ski",
    "tvs": "tv",
}
_PLURALS |= {"policemen": "policeman", "firemen": "fireman", "fishermen": "fisherman", "gentlemen": "gentleman"}
_AS_THEY_ARE = frozenset(
    {"bus", "tennis", "glass", "grass", "this", "is", "was", "has", "its", "scissors", "canvas", "us"}
)
_MOST_WORDS = 4


def singular(word: str) -> str:
    """A word without its plural ending."""
    word = word.removesuffix("'s")
    if word in _PLURALS:
        return _PLURALS[word]
    if word in _AS_THEY_ARE or not word.endswith("s") or word.endswith("ss") or len(word) < 4:
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + ("ie" if word in ("hoodies", "zombies", "cookies", "selfies", "doggies") else "y")
    if word.endswith(("ches", "shes", "xes", "sses", "zes")):
        return word[:-2]
    return word[:-1]


def tokens(text: str) -> list[str]:
    """The words of a text, lower-cased, without plural endings."""
    return [singular(word) for word in _TOKEN.findall(text.lower().replace("-", " ").replace("’", "'"))]


class ObjectWords:
    """Words and their categories.

    Args:
        categories: by word or words, as they stand in text.
        name: of where they are from, for the record.

    Raises:
        UsageError: a word names two categories.
    """

    def __init__(self, categories: Mapping[str, Iterable[str]], name: str, not_meant: Iterable[str] = ()) -> None:
        self.name = name
        self.categories = tuple(categories)
        self._named: dict[tuple[str, ...], str] = {tuple(tokens(words)): "" for words in not_meant}
        for category, words in categories.items():
            for each in (category, *words):
                key = tuple(tokens(each))
                if not key:
                    raise UsageError(f"{name}: {each!r} of {category} holds no word")
                if self._named.get(key, category) not in (category, ""):
                    raise UsageError(f"{name}: {each!r} names {self._named[key]} and {category}")
                self._named[key] = category
        self._most = max(map(len, self._named))

    def mentions(self, text: str) -> list[str]:
        """The categories that a text mentions, once per mention, in order."""
        words = tokens(text)
        found: list[str] = []
        at = 0
        while at < len(words):
            for size in range(min(self._most, len(words) - at), 0, -1):
                named = self._named.get(tuple(words[at : at + size]))
                if named is not None:
                    found += [named] if named else []
                    at += size
                    break
            else:
                at += 1
        return found


def own() -> ObjectWords:
    """The built-in words for COCO's categories."""
    lines = WORDS.replace("\n ", " ").strip().splitlines()
    parsed = {name.strip(): _words(words) for name, _, words in (line.partition(":") for line in lines)}
    return ObjectWords(parsed, "prefgen", _words(NOT_MEANT.replace("\n", " ")))


def read(path: Path) -> ObjectWords:
    """The words of a user's file.

    Raises:
        UsageError: it cannot be read, or a word names two categories.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    named = [_words(line) for line in lines if line.strip()]
    if not named or any(not words for words in named):
        raise UsageError(f"{path} holds no words: a line for each category, its name first, separated by commas")
    return ObjectWords({words[0]: words[1:] for words in named}, path.name)


def _words(line: str) -> list[str]:
    return [word.strip() for word in line.split(",") if word.strip()]
