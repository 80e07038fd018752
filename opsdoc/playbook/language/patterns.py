"""The patterns of `matches`: regular expressions that take time linear in the text, whatever the pattern is.

`re` tries alternatives one after another: `a*a*a*b` takes it hours on 4 KiB, and it cannot be interrupted. Here all
alternatives advance together: the places of the pattern that were reached are one integer, and the steps between such
sets are remembered. Only whether the pattern stands in the text is asked, never where.
"""

from __future__ import annotations

from opsdoc.playbook.language.places import BEGIN, END, Places
from opsdoc.playbook.language.run import Exhausted
from opsdoc.playbook.language.tokens import Source

MAX_TEXT = 16 * 1024  # twice what the redactor lets through of any string
MAX_STEPS = 20_000  # remembered, over all states


class _State(dict[str, "_State"]):
    """A set of places that was reached, and where each character leads from it."""

    __slots__ = ("_pattern", "found", "places")

    def __init__(self, pattern: LinearPattern, places: int, found: bool) -> None:
        super().__init__()
        self._pattern = pattern
        self.places = places
        self.found = found

    def __missing__(self, char: str) -> _State:
        return self._pattern.step(self, char)


class LinearPattern:
    """A compiled pattern. `steps` counts the steps that had to be worked out: they take long, the others do not."""

    def __init__(self, source: Source) -> None:
        """Raises ExpressionError at what is not supported."""
        places = Places(source)
        self._literals = places.literals
        self._classes = places.classes
        self._follow = places.follow
        self._whole = places.whole
        self._chars: dict[str, int] = {}
        self._states: dict[int, _State] = {}
        self._remembered = 0
        self.steps = self._last_step = 0

    def find(self, text: str, steps: int) -> bool:
        """Whether the pattern stands anywhere in the text, of at most MAX_TEXT characters.

        Raises Exhausted where more than so many steps had to be worked out.
        """
        self._last_step = self.steps + steps
        if self._whole.empty:
            return True
        state = self._state(0)[BEGIN]
        for char in text:
            if state.found:
                return True
            state = state[char]
        return state.found or state[END].found

    def step(self, state: _State, char: str) -> _State:
        """The state that a character, or an end of the text, leads to."""
        if self.steps >= self._last_step:
            raise Exhausted
        self.steps += 1
        self._remembered += 1
        if self._remembered > MAX_STEPS:
            self._states.clear()
            self._chars.clear()
            self._remembered = 1
            state = self._state(state.places)
        places = self._whole.first
        rest = state.places
        while rest:
            lowest = rest & -rest
            places |= self._follow[lowest.bit_length() - 1]
            rest ^= lowest
        after = state[char] = self._state(places & self._accepting(char))
        return after

    def _state(self, places: int) -> _State:
        state = self._states.get(places)
        if state is None:
            state = self._states[places] = _State(self, places, bool(places & self._whole.last))
        return state

    def _accepting(self, char: str) -> int:
        places = self._chars.get(char)
        if places is None:
            places = self._literals.get(char, 0)
            if len(char) == 1:
                for pattern, accepted in self._classes.items():
                    if pattern.match(char):
                        places |= accepted
            self._chars[char] = places
        return places
