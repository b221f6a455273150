"""How the objectives will see the data: what the model thinks of the labels before training.

Shapes: T supervised tokens, E of them ends of answers.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from otr.lm_head import IGNORED
from otr.objectives import OTR
from otr.training.look import LOOK_SECONDS, Pieces
from otr.training.trainer import OTRTrainer

MOST_TOKENS = 20_000
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
    num_ends: int
    """Labels among these that end an answer."""
    end_prob: float | None
    """Mean probability of these; None if there are none."""

    def lines(self) -> list[str]:
        """The figures, and in words what they mean."""
        names = ("5%", "25%", "median", "75%", "95%")
        quantiles = zip(names, self.quantile_probs, strict=True)
        ends = []
        if self.end_prob is not None:
            ends = [
                f"           end tokens {self.end_prob:.2g} ({self.num_ends} ends of answers looked at)"
            ]
        return [
            f"labels     mean probability {self.mean_prob:.3f}, nll {self.nll:.3f} nats "
            f"({self.num_tokens:,} supervised tokens looked at)",
            f"           {', '.join(f'{name} {value:.2g}' for name, value in quantiles)}",
            *ends,
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


def outlook(
    trainer: OTRTrainer,
    end_ids: Sequence[int] = (),
    *,
    pieces: Iterable[dict[str, Any]] | None = None,
    progress: Callable[[int], None] = lambda num_tokens: None,
) -> Outlook:
    """Run the first batches of training, about 20,000 supervised tokens at most, through the
    untrained model.

    `end_ids` are the tokens that end answers; `pieces` these batches, by default those of
    `LOOK_SECONDS`. `progress` is told how many supervised tokens have been looked at.
    """
    objective = trainer.objective
    policy = objective if isinstance(objective, OTR) else OTR()
    # The closed form gives q_y itself, without the noise of draws.
    exact = OTR(num_rollouts="exact", temperature=policy.temperature)
    num_rollouts = 256 if policy.num_rollouts == "exact" else policy.num_rollouts
    log_probs, hit_probs, ends = [], [], []
    seen = 0
    assert trainer.model is not None
    trainer.model.eval()
    for inputs in pieces or Pieces(trainer, LOOK_SECONDS):
        with torch.no_grad():
            head, _ = trainer.forward_with_head(trainer.model, inputs, exact)
        labels = trainer.targets(inputs).flatten()
        kept = labels != IGNORED
        ends.append(torch.isin(labels[kept].cpu(), torch.tensor(end_ids, dtype=torch.long)))
        log_probs.append(head.log_prob[kept].double().cpu())
        hit_probs.append(head.hit_rate[kept].double().cpu())
        seen += int(kept.sum())
        progress(seen)
        if seen >= MOST_TOKENS:
            break
    log_prob_T, hit_prob_T = torch.cat(log_probs), torch.cat(hit_probs)
    prob_T = log_prob_T.exp()
    end_prob_E = prob_T[torch.cat(ends)]
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
        num_ends=len(end_prob_E),
        end_prob=float(end_prob_E.mean()) if len(end_prob_E) else None,
    )
