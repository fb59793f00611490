"""The HTML of a fitted estimator: scikit-learn's diagram and, below it, the certificate in one line."""

from html import escape
from typing import Any

from convexnn.certificate import Certificate

_WORDS = {
    "exact": "exact: proven, up to rounding",
    "bounded": "bounded: proven; the true gap may be smaller",
    "estimated": "estimated: evidence, not a proof",
    "patterns": "patterns: compared with networks of these patterns only, no bound on the optimum",
}


class CertificateHTML:
    """Mixin, before BaseEstimator: after `fit` the diagram has a line with objective, bound, gap and kind."""

    def _repr_html_inner(self) -> str:
        return certificate_html(self, super()._repr_html_inner())  # type: ignore[misc]

    def _repr_mimebundle_(self, **options: Any) -> dict[str, str]:
        output: dict[str, str] = super()._repr_mimebundle_(**options)  # type: ignore[misc]
        if "text/html" in output:
            output["text/html"] = certificate_html(self, output["text/html"])
        return output


def certificate_html(estimator: Any, diagram: str) -> str:
    """`diagram` and the certificate of a fitted estimator below it; `diagram` alone before `fit`."""
    certificate = getattr(estimator, "certificate_", None)
    if not isinstance(certificate, Certificate):
        return diagram
    neurons = estimator.network_.n_neurons
    text = certificate_line(certificate, neurons)
    return (
        f'<div class="convexnn-estimator">{diagram}'
        f'<p class="convexnn-certificate" style="font: 0.9em/1.4 system-ui, sans-serif; margin: 0.4em 0">'
        f"{escape(text)}</p></div>"
    )


def certificate_line(certificate: Certificate, neurons: int) -> str:
    """Objective, lower bound, relative gap, kind and size, as one line of text."""
    bound = "bound over the patterns" if certificate.kind == "patterns" else "lower bound"
    return (
        f"Objective {certificate.primal:.6g}, {bound} {certificate.lower_bound:.6g}, relative gap "
        f"{certificate.relative_gap:.2g} ({_WORDS[certificate.kind]}); β = {certificate.beta:.4g}, "
        f"{neurons} neuron{'' if neurons == 1 else 's'}."
    )
