"""Display filters: which requests are shown, said in a small language.

``op == WRITE and latency > 5ms and queue in {0, 1}``: :mod:`furtrace.model.fields` has the fields, ``filter.lark`` the
grammar. A comparison with something that is not known is false, whichever it is; ``not`` turns that round like anything
else.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedCharacters, UnexpectedInput

from furtrace.model.fields import FIELDS, OF_PATHS, Field, Mask, Numbers, Sample, Sort, Texts
from furtrace.model.filter_values import FilterError, is_unit, like, pattern_of, place_of, span_of, text_of, value_of

MOST: Final = 10_000
"""Characters that a filter may have."""
_DEEPEST: Final = 100

_RELATIONS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TURNED: Final = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_EQUALITY: Final = ("==", "!=")


@dataclass(frozen=True)
class _Test:
    """A part of a filter; ``fields``: names of those that it asks for, ``depth``: of parts within parts."""

    run: Callable[[Sample], Mask]
    fields: frozenset[str]
    depth: int = 0


class DisplayFilter:
    """A filter that was understood.

    Args:
        text: as the user wrote it.

    Attributes:
        text: the same.
        fields: names of the fields that it asks for.

    Raises:
        FilterError: it can't be understood.
    """

    def __init__(self, text: str) -> None:
        if len(text) > MOST:
            raise FilterError(f"the filter has more than {MOST} characters", MOST)
        self.text = text
        try:
            text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as problem:
            raise FilterError("this is no character", problem.start) from None
        try:
            made: Any = _parser().parse(text)
        except UnexpectedInput as problem:
            raise _syntax_error(text, problem) from None
        self._test: _Test = made
        self.fields = self._test.fields

    @property
    def needs_paths(self) -> bool:
        """Whether it asks what requests are about."""
        return bool(self.fields & OF_PATHS)

    def chosen(self, sample: Sample) -> Mask:
        """Which of the requests it lets pass."""
        return self._test.run(sample)


@cache
def _parser() -> Lark:
    # Tests are made while it is read: a tree first would have to be walked, however deep it is.
    return Lark.open("filter.lark", rel_to=__file__, parser="lalr", transformer=_Builder())


# ---- what can't be read ----

_EXPECTED: Final = (
    ({"RPAR"}, "a closing parenthesis"),
    ({"LBRACE"}, "an opening brace"),
    ({"COMMA", "RBRACE"}, "a comma or a closing brace"),
    ({"LPAR", "NAME"}, "a comparison"),
    ({"NUMBER", "NAME", "STRING"}, "a value"),
    ({"RELATION"}, "an operator such as =="),
    ({"STRING"}, "a pattern in quotes"),
    ({"_AND", "_OR"}, "and, or, or the end"),
)
"""What was expected, by the grammar's terminals: the first that are all among those that could follow."""


def _syntax_error(text: str, problem: UnexpectedInput) -> FilterError:
    """A sentence for what the parser met."""
    at = problem.pos_in_stream or 0
    followers = (getattr(problem, name, None) for name in ("accepts", "expected", "allowed"))
    expected = set(next(filter(None, followers), ()))
    token = getattr(problem, "token", None)
    if token is not None and token.type == "$END":
        return FilterError(f"the filter ends where {_wanted(expected)} should stand", len(text))
    if isinstance(problem, UnexpectedCharacters) and text[at : at + 1] in "\"'":
        return FilterError("the text that begins here has no closing quote", at)
    found = str(token) if token is not None else text[at : at + 1]
    if found == "=":
        return FilterError("a comparison is written ==", at)
    if is_unit(found) and token is not None and text[at - 1 : at] == " ":
        return FilterError("a unit stands right behind its number, as in 5ms", at)
    if found == ")" and not expected & {"NAME", "RBRACE", "STRING"}:
        return FilterError("there is no parenthesis that this one closes", at)
    return FilterError(f"{_quoted(found)} can't stand here, but {_wanted(expected)}", at)


def _quoted(text: str) -> str:
    """What stands in a filter, as a message has it."""
    return text if text.isascii() and text.isprintable() and text not in "\"'" else ascii(text)


def _wanted(expected: set[str]) -> str:
    if "_AND" in expected:
        expected = expected - {"RPAR", "COMMA", "RBRACE"}  # the parser's tables do not tell whether one is open
    return next((words for terminals, words in _EXPECTED if terminals <= expected), "something else")


# ---- what it means ----


class _Builder(Transformer[Token, _Test]):
    """Makes a test out of what the parser has read."""

    def either(self, parts: list[_Test]) -> _Test:
        """Any of them holds."""
        return self._joined(parts, np.logical_or)

    def both(self, parts: list[_Test]) -> _Test:
        """All of them hold."""
        return self._joined(parts, np.logical_and)

    def _joined(self, parts: list[_Test], join: np.ufunc) -> _Test:
        if len(parts) == 1:
            return parts[0]
        return _of_parts(lambda sample: join.reduce([part.run(sample) for part in parts]), parts)

    def negated(self, parts: list[_Test]) -> _Test:
        """It does not hold."""
        (part,) = parts
        return _of_parts(lambda sample: ~part.run(sample), parts)

    def known(self, parts: list[Token]) -> _Test:
        """A field alone: it is true, or it is known."""
        wanted = _field(parts[0])
        if wanted.flag:
            return _of(wanted, lambda sample: _numbers(wanted, sample, lambda values: values))
        return _of(wanted, lambda sample: wanted.read(sample).known)

    def compared(self, parts: list[Token]) -> _Test:
        """A field and a value, or two fields."""
        left, relation, right = parts
        how = str(relation)
        if not _is_field(left) and (_is_field(right) or left.type != "NAME"):
            left, right, how = right, left, _TURNED[how]
        wanted, compare = _field(left), _RELATIONS[how]
        # A name may be both a field and a value of the field before it.
        if _is_field(right) and str(right).upper() not in wanted.codes:
            return _between(wanted, _field(right), compare, right)
        if wanted.sort is Sort.TEXT:
            return _of_text(wanted, how, relation, text_of(wanted, right))
        if wanted.sort is Sort.CODE and how not in _EQUALITY and right.type != "NUMBER":
            raise FilterError(f"names have no order; {wanted.name} takes == and != with them", place_of(relation))
        value = value_of(wanted, right, equal=how in _EQUALITY)
        return _of(wanted, lambda sample: _numbers(wanted, sample, lambda values: compare(values, value)))

    def matched(self, parts: list[Token]) -> _Test:
        """A text in which a pattern is found."""
        wanted, pattern = _field(parts[0]), pattern_of(parts[1])
        if wanted.sort in (Sort.NUMBER, Sort.DURATION):
            raise FilterError(f"{wanted.name} is {wanted.sort.value}; =~ is for text and names", place_of(parts[0]))

        def run(sample: Sample) -> Mask:
            values = wanted.read(sample)
            texts = values if isinstance(values, Texts) else values.distinct(wanted.say)
            return texts.where(lambda text: pattern.search(text) is not None)

        return _of(wanted, run)

    def listed(self, parts: list[Any]) -> _Test:
        """A field that has one of some values."""
        name, *ranges = parts
        wanted = _field(name)
        spans = [span_of(wanted, first, last) for first, last in ranges]
        if wanted.sort is Sort.TEXT:
            texts = {first for first, _ in spans}
            return _of(wanted, lambda sample: _texts(wanted, sample).where(texts.__contains__))

        def among(values: Any) -> Mask:
            found = np.zeros(len(values), np.bool_)
            for first, last in spans:
                found |= (values == first) if last is None else (values >= first) & (values <= last)
            return found

        return _of(wanted, lambda sample: _numbers(wanted, sample, among))

    def range(self, parts: list[Token | None]) -> list[Token | None]:
        """One value, or two with all between them."""
        return parts


def _of(wanted: Field, run: Callable[[Sample], Mask]) -> _Test:
    return _Test(run, frozenset({wanted.name}))


def _of_parts(run: Callable[[Sample], Mask], parts: Sequence[_Test]) -> _Test:
    depth = 1 + max(part.depth for part in parts)
    if depth > _DEEPEST:
        raise FilterError(f"the filter is nested more than {_DEEPEST} deep", 0)
    return _Test(run, frozenset().union(*(part.fields for part in parts)), depth)


def _is_field(token: Token) -> bool:
    return token.type == "NAME" and str(token) in FIELDS


def _field(token: Token) -> Field:
    name = str(token)
    if token.type != "NAME":
        raise FilterError(f"{_quoted(name)} stands where a field should", place_of(token))
    if name not in FIELDS:
        raise FilterError(f"there is no field {name}{like(name, FIELDS)}", place_of(token))
    return FIELDS[name]


def _numbers(wanted: Field, sample: Sample, test: Callable[[Any], Any]) -> Mask:
    """Where a number is known and passes a test."""
    found = wanted.read(sample)
    assert isinstance(found, Numbers)
    passed: Mask = found.known & np.asarray(test(found.values), np.bool_)
    return passed


def _texts(wanted: Field, sample: Sample) -> Texts:
    found = wanted.read(sample)
    assert isinstance(found, Texts)
    return found


def _between(one: Field, other: Field, compare: Callable[[Any, Any], Any], token: Token) -> _Test:
    """Two fields, both of which have to be known."""
    if one.sort is not other.sort or one.sort in (Sort.TEXT, Sort.CODE):
        what = f"{one.name} is {one.sort.value}, {other.name} {other.sort.value}"
        raise FilterError(f"{what}: only numbers, or durations, can be compared with one another", place_of(token))

    def run(sample: Sample) -> Mask:
        mine, theirs = one.read(sample), other.read(sample)
        assert isinstance(mine, Numbers)
        assert isinstance(theirs, Numbers)
        found: Mask = mine.known & theirs.known & compare(mine.values, theirs.values)
        return found

    return _Test(run, frozenset({one.name, other.name}))


def _of_text(wanted: Field, turned: str, relation: Token, text: str) -> _Test:
    if turned not in _EQUALITY:
        raise FilterError(f"{wanted.name} is text, which is compared by ==, != and =~", place_of(relation))
    equal = turned == "=="
    return _of(wanted, lambda sample: _texts(wanted, sample).where(lambda found: (found == text) == equal))
