"""What is measured of a model before it trains, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from otr import SFT, OTRTrainer
from otr.training.head_transform import measured_transform
from otr.training.model_head import in_mode
from tests.training.models import arguments, dataset, model, tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")


def bert(is_decoder: bool) -> PreTrainedModel:
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "bert",
        vocab_size=123,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        is_decoder=is_decoder,
        initializer_range=0.2,
    )
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_model_that_sees_later_tokens_is_refused(dtype: torch.dtype) -> None:
    # The dropout of a model that is trained hides none of it, and is no reason to refuse one.
    for training in (False, True):
        measured_transform(bert(is_decoder=True).to(dtype).train(training))  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="BertLMHeadModel, what is known of a token depends"):
            measured_transform(bert(is_decoder=False).to(dtype).train(training))  # type: ignore[arg-type]


def test_measuring_changes_no_random_number_and_no_mode() -> None:
    of = model().eval()
    of.model.layers[0].train()  # type: ignore[union-attr, operator]
    before = [module.training for module in of.modules()]
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with in_mode(of, training=True):
        assert all(module.training for module in of.modules())
        measured_transform(of)
    assert torch.equal(torch.rand(3), expected)
    assert [module.training for module in of.modules()] == before


def test_logits_of_other_positions_than_the_states_are_refused() -> None:
    of = model()
    inner = of.forward

    def backwards(*args: Any, **keywords: Any) -> Any:
        out = inner(*args, **keywords)
        out.logits = out.logits.flip(1)
        return out

    of.forward = backwards
    with pytest.raises(ValueError, match="neither a factor nor a softcap"):
        measured_transform(of)


def test_a_loss_of_a_router_that_a_model_does_not_make_is_refused_only_where_asked_for(
    tmp_path: Path,
) -> None:
    def trainer(**changes: Any) -> OTRTrainer:
        of = model()
        # As in Llama 4, whose configuration has both and whose forward makes no such loss.
        of.config.output_router_logits = False
        of.config.router_aux_loss_coef = 0.1
        return OTRTrainer(
            model=of,
            args=arguments(tmp_path, max_steps=1, **changes),
            train_dataset=dataset(),
            processing_class=tokenizer(),
            objective=SFT(),
        )

    trained = trainer()
    trained.train()
    logged = trained.state.log_history[0]
    assert logged["loss"] == pytest.approx(logged["nll"], rel=1e-5)
    with pytest.raises(ValueError, match="router_aux_loss_coef=0.2 weighs nothing; leave it out"):
        trainer(router_aux_loss_coef=0.2)
