"""How the objectives will see the data: what the model thinks of the labels before training.

Shapes: T supervised tokens.
"""

from dataclasses import dataclass

import torch

from otr.lm_head import IGNORED
from otr.objectives import OTR
from otr.training.trainer import OTRTrainer

_MOST_TOKENS = 20_000
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

_LOW_MEAN = 0.6
_LOW_SHARE = 0.2


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """The labels' probabilities under the untrained model, and what follows for OTR."""

    num_tokens: int
    nll: float
    """Mean negative log-likelihood of the labels, in nats."""
    mean_prob: float
    """Mean probability pi(y) of a label."""
    quantile_probs: tuple[float, ...]
    """Probability of a label at 5, 25, 50, 75 and 95 percent of the tokens."""
    num_rollouts: int
    temperature: float
    no_hit_share: float
    """Expected share of the labels that none of the draws hits: mean of (1 - q_y)^K."""
    far_share: float
    """Share of the labels less probable than 1/256."""

    def lines(self) -> list[str]:
        """The figures, and in words what they mean."""
        names = ("5%", "25%", "median", "75%", "95%")
        quantiles = zip(names, self.quantile_probs, strict=True)
        return [
            f"labels     mean probability {self.mean_prob:.3f}, nll {self.nll:.3f} nats "
            f"({self.num_tokens} supervised tokens looked at)",
            f"           {', '.join(f'{name} {value:.2g}' for name, value in quantiles)}",
            f"rollouts   {self.no_hit_share:.0%} of the labels are hit by none of "
            f"{self.num_rollouts} draws at temperature {self.temperature:g}",
            f"           {self.verdict}",
        ]

    @property
    def verdict(self) -> str:
        """What this means for the choice of the objective."""
        if self.no_hit_share > _LOW_SHARE or self.far_share > _LOW_SHARE:
            return (
                f"{self.no_hit_share:.0%} of the supervised tokens get almost no signal from OTR "
                "(nor from DFT): start with SFT, or raise objective.temperature"
            )
        if self.mean_prob < _LOW_MEAN:
            return (
                "the data are some way from what the model would say: OTR and DFT learn such "
                "labels slowly; compare with SFT"
            )
        return "the model would say much of this itself: OTR gets a signal almost everywhere"


def outlook(trainer: OTRTrainer) -> Outlook:
    """Run the first batches of training, about 20,000 supervised tokens at most, through the
    untrained model."""
    objective = trainer.objective
    policy = objective if isinstance(objective, OTR) else OTR()
    # The closed form gives q_y itself, without the noise of draws.
    exact = OTR(num_rollouts="exact", temperature=policy.temperature)
    num_rollouts = 256 if policy.num_rollouts == "exact" else policy.num_rollouts
    log_probs, hit_probs = [], []
    seen = 0
    assert trainer.model is not None
    trainer.model.eval()
    for batch in trainer.get_train_dataloader():
        inputs = trainer._prepare_inputs(batch)
        with torch.no_grad():
            head, _ = trainer.forward_with_head(trainer.model, inputs, exact)
        kept = (trainer.targets(inputs) != IGNORED).flatten()
        log_probs.append(head.log_prob[kept].double().cpu())
        hit_probs.append(head.hit_rate[kept].double().cpu())
        seen += int(kept.sum())
        if seen >= _MOST_TOKENS:
            break
    log_prob_T, hit_prob_T = torch.cat(log_probs), torch.cat(hit_probs)
    prob_T = log_prob_T.exp()
    quantiles = prob_T.quantile(torch.tensor(_QUANTILES, dtype=torch.float64))
    return Outlook(
        num_tokens=len(prob_T),
        nll=float(-log_prob_T.mean()),
        mean_prob=float(prob_T.mean()),
        quantile_probs=tuple(quantiles.tolist()),
        num_rollouts=num_rollouts,
        temperature=policy.temperature,
        no_hit_share=float((1 - hit_prob_T).pow(num_rollouts).mean()),
        far_share=float((prob_T < 1 / 256).double().mean()),
    )
