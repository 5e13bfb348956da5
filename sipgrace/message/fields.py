"""
The header fields of a message, kept as the lines they came in (RFC 3261 §7.3).
"""

from __future__ import annotations

from sipgrace.message.names import OTHER, codeOf
from sipgrace.message.scan import cutFirst, splitElements, unfold, valueOf
from sipgrace.message.values import headerLine

__all__ = ["HeaderFields"]


class HeaderFields:
    """
    Names are given as C{bytes} in any spelling, the compact form included. Values come unfolded and
    stripped.

    @ivar lines: the header lines as they leave, each without its final CRLF; for this package alone.
    @ivar codes: beside each line the code of its name; for this package alone.
    """

    __slots__ = ("codes", "lines")

    lines: list[bytes]
    codes: list[int]

    def _read(self, code: int) -> None:
        """
        Called after the fields with this code have changed.
        """

    def _places(self, name: bytes) -> list[int]:
        """
        Where the lines of that name stand.
        """
        code = codeOf(name)
        places = [place for place, other in enumerate(self.codes) if other == code]
        if code == OTHER:
            wanted = name.lower()
            places = [
                place
                for place in places
                if self.lines[place].partition(b":")[0].rstrip(b" \t").lower() == wanted
            ]
        return places

    def _place(self, name: bytes) -> int:
        """
        Where the first line of that name stands, -1 when there is none.
        """
        code = codeOf(name)
        if code != OTHER:
            return self.codes.index(code) if code in self.codes else -1
        places = self._places(name)
        return places[0] if places else -1

    def get(self, name: bytes) -> bytes | None:
        """
        @return: the value of the first field of that name, C{None} when there is none.
        """
        place = self._place(name)
        return None if place < 0 else valueOf(self.lines[place])

    def getAll(self, name: bytes) -> list[bytes]:
        """
        @return: the value of each field of that name.
        """
        return [valueOf(self.lines[place]) for place in self._places(name)]

    def elements(self, name: bytes) -> list[bytes]:
        """
        @return: the comma-separated elements of all fields of that name, in order (§7.3.1).
        @raise ParseError: where a quoted string is not closed.
        """
        found: list[bytes] = []
        for place in self._places(name):
            found.extend(splitElements(valueOf(self.lines[place])))
        return found

    def has(self, name: bytes) -> bool:
        """
        @return: whether there is a field of that name.
        """
        return self._place(name) >= 0

    def set(self, name: bytes, value: bytes) -> None:
        """
        Gives the first field of that name this value and drops the others; appends it when there is
        none.

        @raise ValueError: where the value holds a line break.
        """
        line = headerLine(name, value)
        places = self._places(name)
        if not places:
            self.lines.append(line)
            self.codes.append(codeOf(name))
        else:
            self.lines[places[0]] = line
            for place in reversed(places[1:]):
                del self.lines[place]
                del self.codes[place]
        self._read(codeOf(name))

    def add(self, name: bytes, value: bytes) -> None:
        """
        Appends a field after the last one.

        @raise ValueError: where the value holds a line break.
        """
        self.lines.append(headerLine(name, value))
        self.codes.append(codeOf(name))
        self._read(codeOf(name))

    def insert(self, name: bytes, value: bytes) -> None:
        """
        Puts a field before the first of that name, or at the top when there is none.

        @raise ValueError: where the value holds a line break.
        """
        line = headerLine(name, value)
        place = max(self._place(name), 0)
        self.lines.insert(place, line)
        self.codes.insert(place, codeOf(name))
        self._read(codeOf(name))

    def remove(self, name: bytes) -> None:
        """
        Drops all fields of that name.
        """
        for place in reversed(self._places(name)):
            del self.lines[place]
            del self.codes[place]
        self._read(codeOf(name))

    def popFirst(self, name: bytes) -> bytes | None:
        """
        Takes the first element off a list header: of C{Route: <a>, <b>} it leaves C{Route: <b>}.

        @return: the element, C{None} when there is none.
        @raise ParseError: where a quoted string in it is not closed.
        """
        while True:
            place = self._place(name)
            if place < 0:
                return None
            first = self._cut(place)
            self._read(codeOf(name))
            if first:
                return first

    def _cut(self, place: int) -> bytes:
        """
        Takes the first element off one line, and the line away when it was the only one.
        """
        name, _, value = self.lines[place].partition(b":")
        first, rest = cutFirst(value.lstrip(b", \t\r\n"))
        if rest:
            self.lines[place] = name + b": " + rest
        else:
            del self.lines[place]
            del self.codes[place]
        return unfold(first)
