"""torchvision's classifiers: ``--model torchvision:resnet18 --weights FILE``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from edgeprune.adapters.collection import Collection, InputOf, State
from edgeprune.core.errors import ConfigError, did_you_mean

_SETTINGS: dict[str, dict[str, bool]] = {
    # Without the heads that only a training reads; published weights take pictures scaled in another way.
    "googlenet": {"aux_logits": False, "init_weights": False, "transform_input": True},
    "inception_v3": {"aux_logits": False, "init_weights": False, "transform_input": True},
}
_TRAINED_ONLY = ("aux1.", "aux2.", "AuxLogits.")
_OLD_DENSE = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)$")


@dataclass(frozen=True)
class Torchvision(Collection):
    """The adapter of torchvision's classifiers."""

    NAME: ClassVar[str] = "torchvision"
    PACKAGES = ("torchvision",)

    def make(self, architecture: str, classes: int) -> nn.Module:
        """Return a network with fresh weights.

        Raises:
            ConfigError: torchvision has no such classifier.
        """
        from torchvision import models

        require_known(architecture)
        settings = _SETTINGS.get(architecture, {})
        model: nn.Module = models.get_model(architecture, weights=None, num_classes=classes, **settings)
        model.classes = classes  # type: ignore[assignment]
        return model

    def published(self, architecture: str) -> InputOf:
        """Return the input of the weights that torchvision itself publishes, those of its `DEFAULT`."""
        from torchvision import models

        require_known(architecture)
        transform = models.get_model_weights(architecture).DEFAULT.transforms()
        size, scaled = transform.crop_size[0], transform.resize_size[0]
        bicubic = transform.interpolation.value == "bicubic"
        return InputOf(size, tuple(transform.mean), tuple(transform.std), size / scaled, bicubic)

    def translate(self, state: State) -> State:
        """Return weights without auxiliary heads, DenseNet's by the names that they have today."""
        return {
            _OLD_DENSE.sub(r"\1\2", name): tensor
            for name, tensor in state.items()
            if not name.startswith(_TRAINED_ONLY)
        }


def require_known(architecture: str) -> None:
    """Refuse a name that torchvision does not list among its classifiers.

    Raises:
        ConfigError: it lists no such one; the nearest is named.
    """
    from torchvision import models

    known = models.list_models(module=models)
    if architecture not in known:
        raise ConfigError(
            f"--model torchvision:{architecture}: torchvision has no such classifier"
            f"{did_you_mean(architecture, known)}; `torchvision.models.list_models()` lists them"
        )


ADAPTER = Torchvision()
