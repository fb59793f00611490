"""One HTML page, complete in itself: pictures are inline SVG, the style is inline, nothing is fetched.

The small functions `heading`, `paragraph`, `table` and `picture` return escaped HTML blocks and `page` joins
them. Sentences about a training are computed from its record (`certificate_sentences`), never typed.
"""

import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLE = """
:root { color-scheme: light dark;
  --ink: #1f2328; --soft: #59636e; --line: #d1d9e0; --back: #ffffff; --card: #f6f8fa }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #9aa5b1; --line: #3d444d; --back: #0d1117; --card: #161b22 } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.2rem; max-width: 62rem; background: var(--back); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .4rem 0 1rem; overflow-wrap: anywhere }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid var(--line); padding-bottom: .25rem }
p, li { max-width: 44rem; overflow-wrap: anywhere }
.lead { font-size: 1.1rem }
.scroll { overflow-x: auto }
table { border-collapse: collapse; margin: .6rem 0; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .3rem .8rem; border-bottom: 1px solid var(--line) }
th:first-child, td:first-child { text-align: left; padding-left: 0 }
th { font-weight: 600 }
th, td { white-space: nowrap }
.text td, .text th { text-align: left; white-space: normal }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1rem }
figure { margin: 0; padding: .7rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .5rem }
figure svg { display: block; width: 100%; height: auto; color: var(--ink) }
figcaption { margin-top: .4rem; color: var(--soft); font-size: .92rem }
footer { margin-top: 2.5rem; color: var(--soft); font-size: .9rem }
"""

#: What each kind of certificate says and does not say.
KIND_SENTENCES = {
    "exact": "The lower bound is proved: the largest correlation with a neuron was found to a stated factor.",
    "bounded": "The lower bound is proved, by a relaxation; the true gap may be smaller.",
    "estimated": (
        "The lower bound is an estimate, not a proof: it rests on a search, from many fresh starts, for the "
        "neuron that would help most. A better neuron that every start missed would lower the bound."
    ),
    "patterns": (
        "The value is compared with networks on the given patterns only. "
        "There is no lower bound for all networks."
    ),
}


def number(value: float | None, digits: int = 6) -> str:
    """A number with `digits` significant digits, trailing zeros dropped."""
    return "none" if value is None else f"{value:.{digits}g}"


def percent(share: float, digits: int = 1) -> str:
    """A share as a percentage."""
    return f"{100 * share:.{digits}f} %"


def count(n: int, noun: str) -> str:
    """A number with its noun in the right form: 1 neuron, 12 neurons."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def _html(text: str) -> str:
    """Escaped text; a number and its per cent sign stay on one line."""
    return escape(text).replace(" %", "&nbsp;%")


def heading(text: str) -> str:
    """A section's heading."""
    return f"<h2>{_html(text)}</h2>"


def paragraph(text: str, *, lead: bool = False) -> str:
    """A paragraph; the first one of a page in larger type with `lead`."""
    kind = ' class="lead"' if lead else ""
    return f"<p{kind}>{_html(text)}</p>"


def bullets(texts: Sequence[str]) -> str:
    """A list of sentences."""
    return "<ul>" + "".join(f"<li>{_html(text)}</li>" for text in texts) + "</ul>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, text: bool = False) -> str:
    """A table that scrolls by itself on a narrow screen; after the first column, numbers unless `text`."""
    head = "".join(f'<th scope="col">{_html(cell)}</th>' for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{_html(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    kind = ' class="text"' if text else ""
    return f'<div class="scroll"><table{kind}><tr>{head}</tr>{body}</table></div>'


def pictures(shown: Sequence[tuple["Axes", str]]) -> str:
    """Pictures with their captions, side by side where the screen is wide enough."""
    blocks = [
        f"<figure>{svg(ax, caption)}<figcaption>{_html(caption)}</figcaption></figure>"
        for ax, caption in shown
    ]
    return f'<div class="pictures">{"".join(blocks)}</div>'


def svg(ax: "Axes", description: str) -> str:
    """A picture as inline SVG whose text takes the colour of the page; the same picture, the same bytes."""
    import matplotlib

    from convexnn.plots import INK

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "convexnn", "svg.fonttype": "path"}):
        ax.get_figure().savefig(buffer, format="svg", metadata={"Date": None})  # type: ignore[union-attr]
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.S)
    text = re.sub(r'\s(?:xmlns(?::xlink)?="[^"]*"|(?:width|height)="[^"]*pt")', "", text)
    text = text.replace(INK, "currentColor")
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1)


def png(ax: "Axes") -> bytes:
    """A picture as PNG on white, 160 dots an inch."""
    from matplotlib.figure import Figure

    buffer = io.BytesIO()
    figure = ax.get_figure()
    assert isinstance(figure, Figure)
    alpha = figure.patch.get_alpha()
    figure.patch.set_alpha(1.0)
    figure.savefig(buffer, format="png", dpi=160, facecolor="white")
    figure.patch.set_alpha(alpha)
    return buffer.getvalue()


def page(title: str, blocks: Sequence[str], footer: str) -> str:
    """A whole page from blocks that are HTML already."""
    body = "\n".join(blocks)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style></head>\n<body><main>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n</main>\n<footer>{escape(footer)}</footer></body></html>\n"
    )


def certificate_sentences(certificate: Mapping[str, Any], neurons: int) -> list[str]:
    """What a certificate's record says, in words, with its kind."""
    from convexnn.plots import BOUND_WORDS, GAP_WORDS

    kind = certificate["kind"]
    first = (
        f"The network has {count(neurons, 'neuron')}; its objective is {number(certificate['primal'])} "
        "(loss on the training rows plus penalty)."
    )
    if kind == "patterns":
        return [first, KIND_SENTENCES[kind]]
    second = (
        f"The {BOUND_WORDS[kind]} on what any network of this form can reach, however wide, is "
        f"{number(certificate['lower_bound'])}: {GAP_WORDS[kind]} {gap_words(certificate['relative_gap'])}."
    )
    return [first, second, KIND_SENTENCES[kind]]


def gap_words(relative_gap: float | None) -> str:
    """A relative gap in words: '0.081 % of the objective'."""
    if relative_gap is None:
        return "unknown"
    shown = f"{100 * relative_gap:.2g}" if abs(relative_gap) < 0.995 else f"{100 * relative_gap:.0f}"
    return "zero" if -1e-9 < relative_gap <= 0 else f"{shown} % of the objective"


SCORE_NAMES = {
    "accuracy": "accuracy",
    "larger_class": "larger class alone",
    "r2": "R²",
    "rmse": "root mean square error",
    "mae": "mean absolute error",
    "deviance": "mean Poisson deviance",
    "below": "targets at or below it",
}


def score_rows(scores: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    """Rows (name, training, test) of the table of scores; without a test set the last cell is a dash."""
    train, test = scores["train"], scores["test"]
    rows = []
    for key, name in SCORE_NAMES.items():
        if key in train:
            show = percent if key in ("accuracy", "larger_class", "below") else lambda value: number(value, 4)
            rows.append([name, show(train[key]), show(test[key]) if key in test else "–"])
    return rows


def certificate_rows(certificate: Mapping[str, Any], neurons: int) -> list[list[str]]:
    """Rows (name, value) of a certificate, its kind in words."""
    from convexnn.plots import BOUND_WORDS, GAP_WORDS

    kind = certificate["kind"]
    rows = [["objective", number(certificate["primal"], 7)], ["neurons", f"{neurons:,}"]]
    if kind == "patterns":
        return [*rows, [BOUND_WORDS[kind], "–"]]
    rows.append([BOUND_WORDS[kind], number(certificate["lower_bound"], 7)])
    rows.append([GAP_WORDS[kind], gap_words(certificate["relative_gap"]).removesuffix(" of the objective")])
    if kind == "estimated":
        rows.append(["starts of its search", f"{certificate['starts']:,}"])
    return rows


def fit_page(
    record: Mapping[str, Any], neurons: int, shown: Sequence[tuple["Axes", str]], notes: Sequence[str]
) -> str:
    """The report of one training on a table, from its record, its pictures and the notes on its columns."""
    certificate, settings = record["certificate"], record["settings"]
    blocks = [
        paragraph(" ".join(certificate_sentences(certificate, neurons)[:2]), lead=True),
        paragraph(record["status"]),
        heading("Scores"),
        table(["score", "training rows", "test rows"], score_rows(record["scores"])),
        paragraph(_test_sentence(record["split"])),
        paragraph(_score_sentence(record["scores"]["train"])),
        heading("Certificate"),
        table(["quantity", "value"], certificate_rows(certificate, neurons)),
        paragraph(KIND_SENTENCES[certificate["kind"]]),
        heading("Pictures"),
        pictures(shown),
        heading("Settings"),
        table(["setting", "value"], [[name, str(value)] for name, value in settings.items()], text=True),
    ]
    if notes:
        blocks += [heading("How the table was read"), bullets(notes)]
    title = f"{record['target']} from {record['table']}"
    return page(title, blocks, f"Written by convexnn {record['version']}.")


def _score_sentence(scores: Mapping[str, float]) -> str:
    if "accuracy" in scores:
        return "'Larger class alone' is the accuracy of a model that always names the more frequent class."
    if "below" in scores:
        return (
            "A prediction of the quantile of a level should have that share of the targets at or below it; "
            "R² and the errors ask how well it predicts the mean, which is not its task."
        )
    return "R² is 1 for a perfect prediction and 0 for the mean; the errors are in the unit of the target."


def _test_sentence(split: Mapping[str, Any]) -> str:
    train, test = split["training_rows"], split["rows"] - split["training_rows"]
    if not test:
        return f"All {count(train, 'row')} were used for training: the scores say nothing about new rows."
    return (
        f"{count(train, 'row')} were used for training and {count(test, 'row')} were set aside by the seed "
        f"{split['seed']}; neither the network nor the scaling of the columns has seen these."
    )


def path_rows(points: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """(header, rows) of the table of a regularisation path, with the scores on both parts.

    The kind of the certificates is in the name of the gap's column where it is one, else in a column.
    """
    from convexnn.plots import GAP_WORDS

    name = "accuracy" if "train_accuracy" in points[0] else "r2"
    score, kinds = SCORE_NAMES[name], {point["kind"] for point in points}
    gap = [GAP_WORDS[points[0]["kind"]]] if len(kinds) == 1 else ["gap", "kind"]
    header = ["β", "objective", *gap, "neurons", f"{score} train", f"{score} test", "seconds"]

    def shown(value: float | None) -> str:
        if value is None:
            return "–"
        return percent(value) if name == "accuracy" else f"{round(value, 4) + 0.0:.4f}"

    rows = []
    for point in points:
        gaps = [gap_words(point["relative_gap"]).removesuffix(" of the objective"), point["kind"]]
        rows.append(
            [
                number(point["beta"], 4),
                number(point["objective"]),
                *gaps[: len(gap)],
                f"{point['neurons']:,}",
                *(shown(point[f"{part}_{name}"]) for part in ("train", "test")),
                f"{point['seconds']:.1f}",
            ]
        )
    return header, rows


def path_page(record: Mapping[str, Any], picture: "Axes", notes: Sequence[str]) -> str:
    """The report of a regularisation path, from its record and its picture."""
    points = record["points"]
    kinds = dict.fromkeys(point["kind"] for point in points)
    blocks = [
        paragraph(f"{count(len(points), 'training')}, each β started from the network before it.", lead=True),
        paragraph(record["status"]),
        *([paragraph(record["form"])] if record.get("form") else []),
        table(*path_rows(points)),
        bullets([f"{kind}: {KIND_SENTENCES[kind]}" for kind in kinds]),
        paragraph(_test_sentence(record["split"])),
        heading("Picture"),
        pictures([(picture, "Neurons, objective and gap against β; β falls to the right.")]),
    ]
    if notes:
        blocks += [heading("How the table was read"), bullets(notes)]
    title = f"Path of {record['target']} from {record['table']}"
    return page(title, blocks, f"Written by convexnn {record['version']}.")


def comparison_page(record: Mapping[str, Any]) -> str:
    """The report of a comparison with other methods, from its record."""
    from convexnn.comparison import PROTOCOL, comparison_rows

    blocks = [
        *(paragraph(sentence, lead=k == 0) for k, sentence in enumerate(record["sentences"])),
        table(*comparison_rows(record)),
        heading("How it was done"),
        bullets(PROTOCOL),
    ]
    if record["notes"]:
        blocks += [heading("How the table was read"), bullets(record["notes"])]
    title = f"Methods for {record['target']} from {record['table']}"
    return page(title, blocks, f"Written by convexnn {record['version']}.")
