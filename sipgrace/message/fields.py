"""
The header fields of a message, kept as the lines they came in (RFC 3261 §7.3).
"""

from __future__ import annotations

from sipgrace.message.names import BYTES, CODES, LAST_READ, OTHER, codeOf, placeOf
from sipgrace.message.scan import cutFirst, splitElements, unfold, valueOf
from sipgrace.message.values import headerLine

__all__ = ["HeaderFields"]


class HeaderFields:
    """
    Names are given as C{bytes} in any spelling, the compact form included. Values come unfolded and
    stripped.

    @ivar lines: the header lines as they leave, each without its final CRLF; for this package alone.
    @ivar codes: the code of the name of each line, a byte; for this package alone.
    """

    __slots__ = ("codes", "lines")

    lines: list[bytes]
    codes: bytes

    def _read(self, code: int) -> None:
        """
        Called after the fields with this code have changed.
        """

    def _put(self, place: int, line: bytes, code: int) -> None:
        """
        Puts a line before that which stands there.
        """
        codes = self.codes
        self.lines.insert(place, line)
        self.codes = codes[:place] + BYTES[code] + codes[place:] if place else BYTES[code] + codes

    def _drop(self, place: int) -> None:
        codes = self.codes
        del self.lines[place]
        self.codes = codes[:place] + codes[place + 1 :] if place else codes[1:]

    def _places(self, name: bytes) -> list[int]:
        """
        Where the lines of that name stand.
        """
        code = codeOf(name)
        codes = self.codes
        if code == OTHER:
            wanted = name.lower()
            return [
                place
                for place, other in enumerate(codes)
                if other == OTHER and self.lines[place].partition(b":")[0].rstrip(b" \t").lower() == wanted
            ]
        count = codes.count(code)
        if count <= 1:
            return [codes.index(code)] if count else []
        return [place for place, other in enumerate(codes) if other == code]

    def _place(self, name: bytes) -> int:
        """
        Where the first line of that name stands, -1 when there is none.
        """
        code = CODES.get(name, OTHER)
        if code == OTHER:
            places = self._places(name)
            return places[0] if places else -1
        return placeOf(code, self.codes)

    def get(self, name: bytes) -> bytes | None:
        """
        @return: the value of the first field of that name, C{None} when there is none.
        """
        code = CODES.get(name, OTHER)
        place = placeOf(code, self.codes) if code != OTHER else self._place(name)
        return valueOf(self.lines[place]) if place >= 0 else None

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
        code = CODES.get(name, OTHER)
        return placeOf(code, self.codes) >= 0 if code != OTHER else bool(self._places(name))

    def holds(self, name: bytes, part: bytes) -> bool:
        """
        @param part: of a value, without blanks.
        @return: whether it stands in any field of that name.
        """
        code = CODES.get(name, OTHER)
        lines = self.lines
        if code == OTHER:
            return any(part in lines[place] for place in self._places(name))
        codes = self.codes
        for place in range(len(codes)):  # noqa: SIM110 (any() makes a generator)
            if codes[place] == code and part in lines[place]:
                return True
        return False

    def set(self, name: bytes, value: bytes) -> None:
        """
        Gives the first field of that name this value and drops the others; appends it when there is
        none.

        @raise ValueError: where the value holds a line break.
        """
        line = headerLine(name, value)
        places = self._places(name) if self.has(name) else None
        if not places:
            self.lines.append(line)
            self.codes += BYTES[codeOf(name)]
        else:
            self.lines[places[0]] = line
            for place in reversed(places[1:]):
                self._drop(place)
        self._read(codeOf(name))

    def add(self, name: bytes, value: bytes) -> None:
        """
        Appends a field after the last one.

        @raise ValueError: where the value holds a line break.
        """
        code = codeOf(name)
        self.lines.append(headerLine(name, value))
        self.codes += BYTES[code]
        if code <= LAST_READ:
            self._read(code)

    def addLine(self, code: int, line: bytes) -> None:
        """
        The same for a whole line; what is kept of its value is the caller's to set.

        @param code: that of its name, see L{codeOf}.
        """
        self.lines.append(line)
        self.codes += BYTES[code]

    def insert(self, name: bytes, value: bytes) -> None:
        """
        Puts a field before the first of that name, or at the top when there is none.

        @raise ValueError: where the value holds a line break.
        """
        line = headerLine(name, value)
        self._put(max(self._place(name), 0), line, codeOf(name))
        self._read(codeOf(name))

    def remove(self, name: bytes) -> None:
        """
        Drops all fields of that name.
        """
        for place in reversed(self._places(name)):
            self._drop(place)
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
            self._drop(place)
        return unfold(first)
