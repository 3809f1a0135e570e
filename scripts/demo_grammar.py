"""A small parallel grammar: one meaning, said in English, Italian, German and French.

Every spoken word carries a key that names the part of the meaning it stands for. Words of two
languages with the same key are translations of each other, so the true alignment is known.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

LANGUAGES = ("en", "it", "de", "fr")
Word = tuple[str, str]

# English noun: (Italian, German nominative, French), each with its article.
SUBJECTS = {
    "woman": ("la donna", "die frau", "la femme"),
    "boy": ("il ragazzo", "der junge", "le garçon"),
    "girl": ("la ragazza", "das mädchen", "la fille"),
    "farmer": ("il contadino", "der bauer", "le paysan"),
    "doctor": ("il medico", "der arzt", "le médecin"),
    "baker": ("il fornaio", "der bäcker", "le boulanger"),
    "dog": ("il cane", "der hund", "le chien"),
    "queen": ("la regina", "die königin", "la reine"),
    "neighbour": ("il vicino", "der nachbar", "le voisin"),
    "pupil": ("la scolara", "die schülerin", "la collégienne"),
}

# English noun: (Italian, German accusative, French), each with its article.
OBJECTS = {
    "book": ("il libro", "das buch", "le livre"),
    "letter": ("la lettera", "den brief", "la lettre"),
    "flower": ("il fiore", "die blume", "la fleur"),
    "key": ("la chiave", "den schlüssel", "la clé"),
    "hat": ("il cappello", "den hut", "le chapeau"),
    "chair": ("la sedia", "den stuhl", "la chaise"),
    "car": ("la macchina", "das auto", "la voiture"),
    "box": ("la scatola", "die kiste", "la boîte"),
    "carpet": ("il tappeto", "den teppich", "le tapis"),
    "knife": ("il coltello", "das messer", "le couteau"),
    "bottle": ("la bottiglia", "die flasche", "la bouteille"),
}

# English adjective: (Italian m, f), German stem, (French m, f), whether French puts it first.
SUBJECT_ADJECTIVES = {
    "tired": (("stanco", "stanca"), "müde", ("fatigué", "fatiguée"), False),
    "happy": (("contento", "contenta"), "glücklich", ("joyeux", "joyeuse"), False),
    "rich": (("ricco", "ricca"), "reich", ("riche", "riche"), False),
    "young": (("giovane", "giovane"), "jung", ("jeune", "jeune"), True),
}
OBJECT_ADJECTIVES = {
    "red": (("rosso", "rossa"), "rot", ("rouge", "rouge"), False),
    "green": (("verde", "verde"), "grün", ("vert", "verte"), False),
    "black": (("nero", "nera"), "schwarz", ("noir", "noire"), False),
    "white": (("bianco", "bianca"), "weiß", ("blanc", "blanche"), False),
    "heavy": (("pesante", "pesante"), "schwer", ("lourd", "lourde"), False),
    "broken": (("rotto", "rotta"), "kaputt", ("cassé", "cassée"), False),
    "small": (("piccolo", "piccola"), "klein", ("petit", "petite"), True),
    "new": (("nuovo", "nuova"), "neu", ("nouveau", "nouvelle"), True),
}

# Infinitive, third person present, and past (English) or participle (the others).
VERBS = {
    "choose": (
        ("choose", "chooses", "chose"),
        ("scegliere", "sceglie", "scelto"),
        ("wählen", "wählt", "gewählt"),
        ("choisir", "choisit", "choisi"),
    ),
    "sell": (
        ("sell", "sells", "sold"),
        ("vendere", "vende", "venduto"),
        ("verkaufen", "verkauft", "verkauft"),
        ("vendre", "vend", "vendu"),
    ),
    "see": (
        ("see", "sees", "saw"),
        ("vedere", "vede", "visto"),
        ("sehen", "sieht", "gesehen"),
        ("voir", "voit", "vu"),
    ),
    "find": (
        ("find", "finds", "found"),
        ("trovare", "trova", "trovato"),
        ("finden", "findet", "gefunden"),
        ("trouver", "trouve", "trouvé"),
    ),
    "lose": (
        ("lose", "loses", "lost"),
        ("perdere", "perde", "perso"),
        ("verlieren", "verliert", "verloren"),
        ("perdre", "perd", "perdu"),
    ),
    "paint": (
        ("paint", "paints", "painted"),
        ("dipingere", "dipinge", "dipinto"),
        ("malen", "malt", "gemalt"),
        ("peindre", "peint", "peint"),
    ),
    "steal": (
        ("steal", "steals", "stole"),
        ("rubare", "ruba", "rubato"),
        ("stehlen", "stiehlt", "gestohlen"),
        ("voler", "vole", "volé"),
    ),
    "clean": (
        ("clean", "cleans", "cleaned"),
        ("pulire", "pulisce", "pulito"),
        ("putzen", "putzt", "geputzt"),
        ("nettoyer", "nettoie", "nettoyé"),
    ),
}

MODALS = {
    "must": ("must", "deve", "muss", "doit"),
    "can": ("can", "può", "kann", "peut"),
    "wants": ("wants to", "vuole", "will", "veut"),
}
FREQUENCIES = {
    "often": ("often", "spesso", "oft", "souvent"),
    "always": ("always", "sempre", "immer", "toujours"),
}
TIMES = {
    "present": {
        "now": ("now", "adesso", "jetzt", "maintenant"),
        "on monday": ("on monday", "lunedì", "am montag", "lundi"),
    },
    "past": {
        "yesterday": ("yesterday", "ieri", "gestern", "hier"),
        "on sunday": ("on sunday", "domenica", "am sonntag", "dimanche"),
    },
    "modal": {
        "tomorrow": ("tomorrow", "domani", "morgen", "demain"),
        "soon": ("soon", "presto", "bald", "bientôt"),
    },
}
PLACES = {
    "garden": ("in the garden", "nel giardino", "im garten", "dans le jardin"),
    "kitchen": ("in the kitchen", "nella cucina", "in der küche", "dans la cuisine"),
    "market": ("at the market", "al mercato", "auf dem markt", "au marché"),
    "bridge": ("on the bridge", "sul ponte", "auf der brücke", "sur le pont"),
    "station": ("at the station", "alla stazione", "am bahnhof", "à la gare"),
}
SPEAKERS = {
    "i know": ("i know", "so", "ich weiß", "je sais"),
    "you say": ("you say", "dici", "du sagst", "tu dis"),
    "we see": ("we see", "vediamo", "wir sehen", "nous voyons"),
}
PRONOUNS = {"him": ("him", "lo", "ihn", "le"), "her": ("her", "la", "sie", "la")}
COLUMN = {language: column for column, language in enumerate(LANGUAGES)}


@dataclass(frozen=True)
class Meaning:
    """What is said, whatever the language and the order of its parts."""

    subject: str
    tense: str
    verb: str
    modal: str = ""
    object: str = ""
    pronoun: str = ""
    subject_adjective: str = ""
    object_adjective: str = ""
    time: str = ""
    place: str = ""
    frequency: str = ""
    speaker: str = ""
    negated: bool = False


def draw_meaning(rng: np.random.Generator) -> Meaning:
    """Draw a meaning with two or three of the optional parts."""
    tense = str(rng.choice(["present", "past", "modal"], p=[0.35, 0.4, 0.25]))
    options = ["subject_adjective", "object_adjective", "time", "place", "speaker"]
    weights = np.array([0.15, 0.3, 0.25, 0.2, 0.1])
    chosen = set(rng.choice(options, size=int(rng.integers(2, 4)), replace=False, p=weights))
    pronoun = tense != "past" and "object_adjective" not in chosen and rng.random() < 0.35
    negated = tense == "present" and rng.random() < 0.2
    frequent = tense == "present" and not negated and "time" not in chosen and rng.random() < 0.5

    def pick(table: dict, wanted: bool = True) -> str:
        return str(rng.choice(list(table))) if wanted else ""

    return Meaning(
        subject=pick(SUBJECTS),
        tense=tense,
        verb=pick(VERBS),
        modal=pick(MODALS, tense == "modal"),
        object=pick(OBJECTS, not pronoun),
        pronoun=pick(PRONOUNS, pronoun),
        subject_adjective=pick(SUBJECT_ADJECTIVES, "subject_adjective" in chosen),
        object_adjective=pick(OBJECT_ADJECTIVES, "object_adjective" in chosen),
        time=pick(TIMES[tense], "time" in chosen),
        place=pick(PLACES, "place" in chosen),
        frequency=pick(FREQUENCIES, frequent),
        speaker=pick(SPEAKERS, "speaker" in chosen),
        negated=negated,
    )


def split_of(meaning: Meaning) -> str:
    """Put a meaning into train, dev or test for good, the same for all languages and orders."""
    bucket = int(hashlib.sha256(repr(meaning).encode()).hexdigest(), 16) % 20
    return {0: "test", 1: "dev"}.get(bucket, "train")


def _keyed(text: str, *keys: str) -> list[Word]:
    """Give the words of a text their keys; the last key also serves all further words."""
    words = text.split()
    return [(word, keys[min(index, len(keys) - 1)]) for index, word in enumerate(words)]


def _feminine(article: str) -> bool:
    """Tell the gender of an Italian or French noun from its article."""
    return article == "la"


def _phrase(language: str, text: str, adjective: tuple | None, role: str) -> list[Word]:
    """Build a noun phrase with its article and, if any, its adjective in the right place."""
    article, noun = text.split()
    head, noun_word = [(article, f"{role}.the")], [(noun, f"{role}.noun")]
    if adjective is None:
        return head + noun_word
    key = f"{role}.adjective"
    italian, german, french, french_first = adjective
    if language == "de":
        ending = "n" if article == "den" else ""
        stem = german if german.endswith("e") else german + "e"
        return [*head, (stem + ending, key), *noun_word]
    if language == "it":
        return [*head, *noun_word, (italian[_feminine(article)], key)]
    adjective_word = (french[_feminine(article)], key)
    return (
        [*head, adjective_word, *noun_word]
        if french_first
        else [
            *head,
            *noun_word,
            adjective_word,
        ]
    )


def _noun_phrase(language: str, noun: str, adjective: str, role: str) -> list[Word]:
    """Build the subject or the object in one language."""
    nouns, adjectives = (
        (SUBJECTS, SUBJECT_ADJECTIVES) if role == "subject" else (OBJECTS, OBJECT_ADJECTIVES)
    )
    if language == "en":
        middle = [(adjective, f"{role}.adjective")] if adjective else []
        return [("the", f"{role}.the"), *middle, (noun, f"{role}.noun")]
    text = nouns[noun][COLUMN[language] - 1]
    return _phrase(language, text, adjectives[adjective] if adjective else None, role)


@dataclass(frozen=True)
class _Parts:
    """The phrases of one meaning in one language, not yet in order."""

    subject: list[Word]
    object: list[Word]
    pronoun: list[Word]
    verb: tuple[str, str, str]
    modal: list[Word]
    time: list[Word]
    place: list[Word]
    frequency: list[Word]
    speaker: list[Word]


def _parts(meaning: Meaning, language: str) -> _Parts:
    """Look up every phrase of a meaning."""
    column = COLUMN[language]

    def found(table: dict, name: str, *keys: str) -> list[Word]:
        return _keyed(table[name][column], *keys) if name else []

    place = found(PLACES, meaning.place, "place.where")
    return _Parts(
        subject=_noun_phrase(language, meaning.subject, meaning.subject_adjective, "subject"),
        object=_noun_phrase(language, meaning.object, meaning.object_adjective, "object")
        if meaning.object
        else [],
        pronoun=found(PRONOUNS, meaning.pronoun, "object.pronoun"),
        verb=VERBS[meaning.verb][column],
        modal=found(MODALS, meaning.modal, "modal"),
        time=found(TIMES[meaning.tense], meaning.time, "time"),
        place=[*place[:-1], (place[-1][0], "place.noun")] if place else [],
        frequency=found(FREQUENCIES, meaning.frequency, "frequency"),
        speaker=found(SPEAKERS, meaning.speaker, "speaker"),
    )


def _english(meaning: Meaning, front: str) -> list[list[Word]]:
    """Say a meaning in English: subject, verb, object, place, time."""
    parts = _parts(meaning, "en")
    infinitive, present, past = ((form, "verb") for form in parts.verb)
    if meaning.tense == "past":
        verb = [past]
    elif meaning.tense == "modal":
        verb = [*parts.modal, infinitive]
    elif meaning.negated:
        verb = [("does", "not"), ("not", "not"), infinitive]
    else:
        verb = [*parts.frequency, present]
    clause = [parts.subject, verb, parts.object + parts.pronoun, parts.place, parts.time]
    opening = [[*parts.speaker, ("that", "that")]] if parts.speaker else []
    return opening + _fronted(clause, parts, front)


def _fronted(clause: list[list[Word]], parts: _Parts, front: str) -> list[list[Word]]:
    """Move the time or the place to the start of a clause."""
    phrase = {"time": parts.time, "place": parts.place}.get(front)
    if not phrase:
        return clause
    return [phrase, *[other for other in clause if other is not phrase]]


def _romance(meaning: Meaning, language: str, front: str) -> list[list[Word]]:
    """Say a meaning in Italian or French: clitics before the verb, most adjectives after.

    French keeps the plain order after "que", which would be shortened before most openings.
    """
    parts = _parts(meaning, language)
    if parts.speaker and language == "fr":
        front = ""
    infinitive, present, participle = ((form, "verb") for form in parts.verb)
    before, after = {
        "it": ([("non", "not")], []),
        "fr": ([("ne", "not")], [("pas", "not")]),
    }[language]
    if not meaning.negated:
        before, after = [], []
    if meaning.tense == "past":
        verb = [("ha" if language == "it" else "a", "have"), participle]
    elif meaning.tense == "modal" and language == "it":
        verb = [*parts.pronoun, *parts.modal, infinitive]
    elif meaning.tense == "modal":
        verb = [*parts.modal, *parts.pronoun, infinitive]
    else:
        verb = [*before, *parts.pronoun, present, *after, *parts.frequency]
    clause = [parts.subject, verb, parts.object, parts.place, parts.time]
    that = ("che" if language == "it" else "que", "that")
    opening = [[*parts.speaker, that]] if parts.speaker else []
    return opening + _fronted(clause, parts, front)


def _german(meaning: Meaning, front: str) -> list[list[Word]]:
    """Say a meaning in German: verb second, or last in a subordinate clause."""
    parts = _parts(meaning, "de")
    infinitive, present, participle = ((form, "verb") for form in parts.verb)
    if meaning.tense == "past":
        finite, final = [("hat", "have")], [participle]
    elif meaning.tense == "modal":
        finite, final = parts.modal, [infinitive]
    else:
        finite, final = [present], []
    negation = [("nicht", "not")] if meaning.negated else []
    middle = [parts.pronoun, parts.time, parts.frequency, parts.place, parts.object, negation]
    if parts.speaker:
        opening = [*parts.speaker, ("dass", "that")]
        return [opening, parts.subject, *middle, final + finite]
    phrase = {"time": parts.time, "place": parts.place}.get(front)
    if not phrase:
        return [parts.subject, finite, *middle, final]
    return [phrase, finite, parts.subject, *[m for m in middle if m is not phrase], final]


def say(meaning: Meaning, language: str, front: str = "") -> list[list[Word]]:
    """Return the phrases of a sentence as lists of (word, key); front is "", time or place."""
    if language == "en":
        phrases = _english(meaning, front)
    elif language == "de":
        phrases = _german(meaning, front)
    else:
        phrases = _romance(meaning, language, front)
    return [phrase for phrase in phrases if phrase]


def translation(meaning: Meaning) -> list[Word]:
    """Return the English translation, always in the plain order, as (word, key)."""
    return [word for phrase in say(meaning, "en") for word in phrase]


def draw_front(meaning: Meaning, rng: np.random.Generator) -> str:
    """Choose which part opens the spoken sentence."""
    choices = [name for name in ("time", "place") if getattr(meaning, name)]
    return str(rng.choice(choices)) if choices and rng.random() < 0.6 else ""
