"""Words that several studies use in their sentences; every number comes from records."""

from collections.abc import Sequence

from convexnn.report import count, number, percent

KINDS = {
    "exact": "proved",
    "bounded": "proved",
    "estimated": "estimated, not proved",
    "patterns": "over the given patterns only",
}


def share(part: int, whole: int) -> str:
    """'17 of 20'."""
    return f"{part} of {whole}"


def over(value: float, reference: float) -> str:
    """'3.1 % above' or '0.02 % below' a reference; 'equal to' within 1e-9."""
    ratio = (value - reference) / abs(reference) if reference else value - reference
    if abs(ratio) < 1e-9:
        return "equal (to nine digits) to"
    size = abs(ratio)
    text = f"{number(1 + size, 3)} times" if size >= 10 else f"{number(100 * size, 3)} % above"
    if ratio < 0:
        text = f"{number(100 * size, 3)} % below"
    return text


def listed(texts: Sequence[str]) -> str:
    """'a, b and c'."""
    texts = list(texts)
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


__all__ = ["KINDS", "count", "listed", "number", "over", "percent", "share"]
