"""The architectures that transformers lists: causal language models, and those that also see."""

from dataclasses import dataclass

from transformers import CONFIG_MAPPING, PreTrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto


@dataclass(frozen=True)
class Architecture:
    """A model type of transformers, and its class that makes logits."""

    model_type: str
    class_name: str
    sees_images: bool = False

    def config_class(self) -> type[PreTrainedConfig]:
        """The configuration's class; a class's own where it takes a part of the whole."""
        whole = CONFIG_MAPPING[self.model_type]
        own = self.model_class().config_class
        return own if own is not None and not issubclass(whole, own) else whole

    def model_class(self) -> type[PreTrainedModel]:
        """Imported when first asked for."""
        import transformers

        return getattr(transformers, self.class_name)


def architectures() -> list[Architecture]:
    """Causal language models first, then vision-language models."""
    text: dict[str, str] = dict(modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    seeing: dict[str, str] = dict(modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)
    return [Architecture(*pair) for pair in text.items()] + [
        Architecture(*pair, sees_images=True) for pair in seeing.items() if pair[0] not in text
    ]
