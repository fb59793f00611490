"""The order of the gallery: what most people look for first."""

from sphinx_gallery.sorting import FileNameSortKey

ORDER = (
    "breast_cancer",
    "multiclass",
    "certify_mlp",
    "certify_torch",
    "five_points",
    "sgd_starts",
    "sampled_patterns",
    "kinds_of_certificates",
    "choose_beta",
    "regularisation_path",
    "neurons",
    "features",
    "huber",
    "free_intercept",
    "onnx",
    "patterns",
    "dual",
    "optimal_set",
    "path_to_optimum",
    "interpolation",
    "gated_relu",
    "linear_cnn",
)


class ByClaim(FileNameSortKey):
    """`ORDER`, then the others by name."""

    def __call__(self, filename: str) -> tuple[int, str]:
        name = filename.removeprefix("plot_").removesuffix(".py")
        return (ORDER.index(name) if name in ORDER else len(ORDER), name)
