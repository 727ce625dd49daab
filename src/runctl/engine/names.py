"""Ids that sort by time, and friendly names made from them. Pure: the clock and the randomness are arguments.

An id is 26 characters of lowercase Crockford base32: 48 bits of milliseconds since the epoch, then 80 random bits
(the layout of a ULID, so ids sort as text the way they sort in time). A name is made of the random bits alone:
two words and the id's own last four characters, so that a name and an id can be matched by eye.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Crockford's alphabet: no i, l, o (mistaken for 1, 1, 0) and no u.
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
ID_LENGTH = 26
SUFFIX_LENGTH = 4
RANDOM_BYTES = 10
TRIES = 64  # with 4 billion names even two clashes in a row mean that the randomness is broken

ADJECTIVES = tuple(
    """
    able agile amber apt balmy bold brave breezy bright brisk calm candid cheery chipper civil clear clever cosy
    crisp curious daring deft eager earnest easy epic fair fancy fleet fluent fond frank fresh gentle giddy glad
    golden grand happy hardy honest humble jolly jovial keen kind lively loyal lucid lucky lunar mellow merry mighty
    mild minty modest neat nimble noble patient peppy placid plucky polite prime proud quick quiet rapid ready
    robust rosy royal serene sharp shiny silver sleek smart snug solar sound spry steady stellar stout sturdy sunny
    swift tender tidy trusty upbeat valiant vivid warm wise witty zesty
    """.split()  # noqa: SIM905 - a word list reads better as words
)
ANIMALS = tuple(
    """
    alpaca antelope badger bear beaver bee bison bobcat camel cat cheetah civet cod condor coyote crane cricket crow
    deer dingo dolphin dormouse dove duck eagle eel egret elk falcon ferret finch fox frog gazelle gecko gibbon
    giraffe goat goose grouse gull hare hawk hedgehog heron horse ibex ibis jackal jaguar jay kestrel kiwi koala
    lark lemur leopard lion llama lobster lynx magpie marmot marten meerkat mole moose newt ocelot octopus orca
    osprey otter owl oyster panda panther parrot pelican penguin pika plover pony puffin puma quail rabbit raccoon
    raven robin salmon seal shrew skunk sparrow squid stork swan tapir tern tiger toad trout turtle vole walrus
    weasel whale wolf wombat wren yak zebra
    """.split()  # noqa: SIM905 - a word list reads better as words
)


def new_id(*, now: float, random: Callable[[int], bytes]) -> str:
    """Make an id for this moment.

    Args:
        now: seconds since the epoch.
        random: gives that many random bytes, as ``os.urandom`` does.

    Raises:
        ValueError: ``now`` is before 1970 or after the year 10889, where 48 bits of milliseconds end.
    """
    milliseconds = int(now * 1000)
    if not 0 <= milliseconds < 1 << 48:
        raise ValueError(f"not a time an id can hold: {now}")
    number = milliseconds << 80 | int.from_bytes(random(RANDOM_BYTES), "big")
    return "".join(ALPHABET[number >> shift & 31] for shift in range(5 * (ID_LENGTH - 1), -1, -5))


def is_id(text: str) -> bool:
    """Whether ``text`` has the form of an id."""
    return len(text) == ID_LENGTH and text[0] in "01234567" and all(letter in ALPHABET for letter in text)


def time_of(run_id: str) -> float:
    """When the id was made, in seconds since the epoch; raises ``ValueError`` for what is no id."""
    return (_number(run_id) >> 80) / 1000


def name_of(run_id: str) -> str:
    """The friendly name of an id, ``brave-otter-7k2m``: always the same for the same id and word lists.

    Raises:
        ValueError: ``run_id`` is no id.
    """
    pair = (_number(run_id) & (1 << 80) - 1) >> 5 * SUFFIX_LENGTH
    rest, animal = divmod(pair, len(ANIMALS))
    return f"{ADJECTIVES[rest % len(ADJECTIVES)]}-{ANIMALS[animal]}-{run_id[-SUFFIX_LENGTH:]}"


def fresh(
    *, now: float, random: Callable[[int], bytes], taken: Callable[[str], bool] = lambda _name: False
) -> tuple[str, str]:
    """An id and its name, a name that is not ``taken``.

    The index has the last word (its name column is unique); asking first only makes a clash there a race of
    two clients within the same moment.

    Raises:
        RuntimeError: ``TRIES`` names in a row were taken, which only broken randomness explains.
    """
    for _ in range(TRIES):
        run_id = new_id(now=now, random=random)
        name = name_of(run_id)
        if not taken(name):
            return run_id, name
    raise RuntimeError(f"{TRIES} random names in a row were taken: the source of randomness repeats itself")


def _number(run_id: str) -> int:
    if not is_id(run_id):
        raise ValueError(f"not an id: {run_id!r}")
    number = 0
    for letter in run_id:
        number = number << 5 | ALPHABET.index(letter)
    return number
