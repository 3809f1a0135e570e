"""Speech with the times of words and phones from libespeak-ng, through ctypes."""

from __future__ import annotations

import ctypes
import ctypes.util
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

SYNCHRONOUS = 2
CHARS_UTF8 = 1
RATE, PITCH, PITCH_RANGE = 1, 3, 4
PHONEME_EVENTS, NO_EXIT = 0x0001, 0x8000
EVENT_LIST_END, EVENT_WORD, EVENT_PHONEME = 0, 1, 7
PAUSE = "_"
SILENCE_LEVEL = 60


class SpeechError(Exception):
    """The synthesiser is missing or did not do what was asked."""


class _EventId(ctypes.Union):
    """The payload of an event."""

    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    """One event as libespeak-ng lays it out."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@dataclass(frozen=True)
class Phone:
    """One phone by espeak-ng's own name (`espeak-ng --phonout`); start, end: seconds."""

    name: str
    start: float
    end: float


@dataclass(frozen=True)
class Spoken:
    """A phrase as samples (int16) with one (start, end) in seconds for each of its words.

    phones: those of each word; none for words that the library joined, whose own phones it does not tell.
    """

    samples: np.ndarray
    words: list[tuple[float, float]]
    phones: list[list[Phone]]


@dataclass
class Synthesiser:
    """A wrapper around the library's global state: one per process."""

    sample_rate: int = 0
    version: str = ""
    _library: ctypes.CDLL | None = None
    _callback: object = None
    _pieces: list[np.ndarray] = field(default_factory=list)
    _events: list[tuple[int, float]] = field(default_factory=list)
    _phones: list[tuple[int, str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Load the library and register the callback."""
        name = ctypes.util.find_library("espeak-ng") or "libespeak-ng.so.1"
        try:
            library = ctypes.CDLL(name)
        except OSError as error:
            raise SpeechError("libespeak-ng not found: apt-get install espeak-ng") from error
        library.espeak_Info.restype = ctypes.c_char_p
        self.sample_rate = library.espeak_Initialize(SYNCHRONOUS, 0, None, PHONEME_EVENTS | NO_EXIT)
        if self.sample_rate <= 0:
            raise SpeechError("libespeak-ng has no voice data: apt-get install espeak-ng-data")
        self.version = library.espeak_Info(None).decode().split()[0]
        self._callback = _CALLBACK(self._collect)
        library.espeak_SetSynthCallback(self._callback)
        self._library = library

    def _collect(self, samples, count: int, events) -> int:
        """Keep the samples, and the events of words and phones, of one callback."""
        if samples and count > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type != EVENT_LIST_END:
            event = events[index]
            if event.type == EVENT_WORD:
                self._events.append((event.text_position, event.audio_position / 1000))
            elif event.type == EVENT_PHONEME:
                name = event.id.string.decode()
                self._phones.append((event.text_position, name, event.audio_position / 1000))
            index += 1
        return 0

    def speak(
        self, words: list[str], voice: str, rate: int, pitch: int, pitch_range: int
    ) -> Spoken | None:
        """Speak words as one phrase, or return None when no sound or no usable times came out."""
        self._pieces, self._events, self._phones = [], [], []
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise SpeechError(f"libespeak-ng has no voice {voice!r}")
        for parameter, value in ((RATE, rate), (PITCH, pitch), (PITCH_RANGE, pitch_range)):
            self._library.espeak_SetParameter(parameter, value, 0)
        text = " ".join(words).encode()
        self._library.espeak_Synth(text, len(text) + 1, 0, 1, 0, CHARS_UTF8, None, None)
        if not self._pieces:
            return None
        return self._aligned(words, np.concatenate(self._pieces))

    def _aligned(self, words: list[str], samples: np.ndarray) -> Spoken | None:
        """Trim the silence at both ends and give every word the span up to the next one.

        The library joins some short words ("in the") and reports one event for them; such a span
        is shared out by number of letters.
        """
        loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > SILENCE_LEVEL)
        if loud.size == 0:
            return None
        first, last = int(loud[0]), int(loud[-1]) + 1
        offset, length = first / self.sample_rate, (last - first) / self.sample_rate
        position, times, groups = 1, dict(self._events), []
        for word in words:
            if position in times or not groups:
                start = min(max(times.get(position, 0.0) - offset, 0.0), length)
                groups.append((start if groups else 0.0, [word]))
            else:
                groups[-1][1].append(word)
            position += len(word) + 1
        spans: list[tuple[float, float]] = []
        ends = [*[start for start, _ in groups[1:]], length]
        for (start, members), end in zip(groups, ends, strict=True):
            letters = np.cumsum([0, *[len(word) for word in members]])
            edges = start + (end - start) * letters / letters[-1]
            spans += [(float(a), float(b)) for a, b in pairwise(edges)]
        if any(end - start < 0.03 for start, end in spans):
            return None
        phones = self._phones_of_words(offset, length)
        positions = np.cumsum([1, *[len(word) + 1 for word in words[:-1]]])
        alone = [len(members) == 1 for _, members in groups for _ in members]
        own = [
            phones.get(int(position), []) if is_alone else []
            for position, is_alone in zip(positions, alone, strict=True)
        ]
        return Spoken(samples[first:last], spans, own)

    def _phones_of_words(self, offset: float, length: float) -> dict[int, list[Phone]]:
        """Return the phones by the position of their word; each lasts until the next one or a pause."""
        found: dict[int, list[Phone]] = {}
        ends = [*[time for _, _, time in self._phones[1:]], offset + length]
        for (position, name, time), end in zip(self._phones, ends, strict=True):
            if not name.startswith(PAUSE):
                span = (min(max(edge - offset, 0.0), length) for edge in (time, end))
                found.setdefault(position, []).append(Phone(name, *span))
        return found
