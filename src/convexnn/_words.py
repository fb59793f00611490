"""Free text as a bag of words of few terms. Importing this module does not import scikit-learn.

Term k of a row weighs (its count)·w_k, w_k = 1 + log((1 + n)/(1 + n_k)), where n_k of the n training rows
hold it; a row is then divided by its length. This is scikit-learn's TF-IDF on the chosen terms.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from convexnn._types import Array

#: Terms that one text column may have.
MAX_TERMS = 100
#: From this median number of words a column of many different texts is taken as free text without being told.
FEW_WORDS = 3


def fit_terms(texts: Sequence[str | None]) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """(terms by alphabet, their weights): the `MAX_TERMS` or fewer with the largest n_k (n − n_k).

    That is the variance of "the row holds the term". A term of one row only, or of all rows, is left out.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    n = len(texts)
    vectorizer = CountVectorizer(binary=True)
    try:
        held = vectorizer.fit_transform([text or "" for text in texts])
    except ValueError:  # no word of two letters or more in any row
        return (), ()
    rows = np.asarray(held.sum(axis=0)).ravel()
    names = vectorizer.get_feature_names_out()
    order = [k for k in np.argsort(-rows * (n - rows), kind="stable") if 1 < rows[k] < n][:MAX_TERMS]
    chosen = sorted((str(names[k]), float(1 + np.log((1 + n) / (1 + rows[k])))) for k in order)
    return tuple(term for term, _ in chosen), tuple(weight for _, weight in chosen)


def term_features(texts: Sequence[str | None], terms: Sequence[str], weights: Sequence[float]) -> Array:
    """(n, terms) rows of length 1; a missing text, or one without a known term, is a row of zeros."""
    from sklearn.feature_extraction.text import CountVectorizer

    counts: Any = CountVectorizer(vocabulary=list(terms)).transform([text or "" for text in texts])
    rows: Array = counts.toarray() * np.asarray(weights)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1.0)


def looks_like_text(texts: Sequence[str]) -> bool:
    """Whether the median text has `FEW_WORDS` words or more."""
    return bool(np.median([len(text.split()) for text in texts]) >= FEW_WORDS)
