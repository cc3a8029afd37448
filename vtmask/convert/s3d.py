"""Maps published names of S3D's parameters to our paths, and back."""

_LEAVES = {"weight": "kernel", "bias": "bias", "running_mean": "mean", "running_var": "var"}


def path_of(name: str) -> str | None:
    """Returns our path of a published parameter; None if we have none."""
    *modules, layer, leaf = ["", *name.split(".")]
    is_norm = layer.startswith("bn")
    if leaf not in _LEAVES or (layer.startswith("conv") and leaf != "weight"):
        return None
    ours = _LEAVES[leaf]
    if is_norm:
        layer = layer.replace("bn", "conv")  # our `ConvNorm` holds both
        ours = "scale" if leaf == "weight" else ours
    elif layer == "word_embd":
        ours = "embedding"
    tower = "text" if modules[1:2] == ["text_module"] else "video"
    return "/".join([tower, *modules[2 if tower == "text" else 1 :], layer, ours])


def name_of(path: str) -> str:
    """Returns the published name of a parameter; the inverse of `path_of`."""
    tower, *modules, layer, leaf = path.split("/")
    if layer.startswith("conv") and leaf != "kernel":
        layer = layer.replace("conv", "bn")
    if tower == "text":
        modules = ["text_module", *modules]
    leaves = {ours: theirs for theirs, ours in _LEAVES.items()}
    return ".".join([*modules, layer, leaves.get(leaf, "weight")])
