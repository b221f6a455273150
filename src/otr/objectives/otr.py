"""One-Token Rollout: rewarded draws from the model's own distribution at every token."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from torch import Tensor

from otr.objectives.options import require_count, require_number
from otr.objectives.seam import Needs, Objective, Statistics, Weights


@dataclass(frozen=True, kw_only=True)
class OTR(Objective):
    """One-Token Rollout: draw K words a_1…a_K at each token, reward those that hit the label.

    q = softmax(z / temperature),  a_k ~ q,  R(a) = 1 if a = y else wrong_reward
    L = -(1/K) sum_k R(a_k) log pi(a_k)                            sampled
    L = -(1 - wrong_reward) q_y log p - wrong_reward E_q[log pi]   `num_rollouts="exact"`

    The sampled loss is an unbiased estimate of the exact one. At temperature 1 the exact
    gradient is (1 - wrong_reward) times that of Dynamic Fine-Tuning. 256 rollouts and
    temperature 1.3 are the paper's settings; its reward of wrong words is only known to be
    slightly negative, and the default of -0.1 is ours.

    Two options for labels that no draw would hit, both off by default and both ours. With
    `least_chance`, tokens where q_y is below it are sampled from a hotter policy: the temperature is
    doubled until q_y reaches it, or for the last time before `max_temperature` is passed. With
    `sft_share` m the weights are mixed with SFT's,

    w = m e_y + (1 - m) w_OTR

    and with `sft_until` u the share falls in a straight line from 1 at the start of training to m at
    the share u of it.

    Raises: ValueError unless num_rollouts is a positive count or "exact", temperature is above
    0, wrong_reward below 1, least_chance at least 0 and below 1, max_temperature at least the
    temperature, and sft_share and sft_until between 0 and 1.
    Source: arXiv:2509.26313.
    """

    name: ClassVar[str] = "otr"

    num_rollouts: int | Literal["exact"] = 256
    """Words drawn at each token, K; `exact` for the closed form of infinitely many."""

    temperature: float = 1.3
    """Temperature of the rollout policy; above 1 to explore."""

    wrong_reward: float = -0.1
    """Reward of a word that is not the label."""

    least_chance: float = 0.0
    """Least chance that one draw hits the label, for which a token's temperature is raised; 0 raises
    none. 1 / num_rollouts expects one hit."""

    max_temperature: float = 16.0
    """Where the temperature is raised, at most to this."""

    sft_share: float = 0.0
    """Share m of SFT in the weights."""

    sft_until: float = 0.0
    """Share u of the training over which the weights go from SFT's to these; 0 for no schedule."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_rollouts != "exact":
            try:
                require_count("num_rollouts", self.num_rollouts)
            except ValueError as error:
                raise ValueError(f"{error}; or `exact` for the closed form") from None
        require_number("temperature", self.temperature, above=0)
        require_number("wrong_reward", self.wrong_reward, below=1)
        require_number("least_chance", self.least_chance, least=0, below=1)
        require_number("max_temperature", self.max_temperature, above=0)
        if self.least_chance > 0 and self.max_temperature < self.temperature:
            raise ValueError(
                f"max_temperature must be at least the temperature, {self.temperature:g}, found "
                f"{self.max_temperature!r}"
            )
        require_number("sft_share", self.sft_share, least=0, most=1)
        require_number("sft_until", self.sft_until, least=0, most=1)

    def needs(self) -> Needs:
        if self.num_rollouts == "exact":
            return Needs(temperature=self.temperature)
        return Needs(
            temperature=self.temperature,
            num_rollouts=self.num_rollouts,
            missed_words=self.wrong_reward != 0,
        )

    @property
    def may_be_below_zero(self) -> bool:
        # Where draws miss, it is -wrong_reward log pi of what they are.
        return self.wrong_reward < 0 or super().may_be_below_zero

    def substitute(self, statistics: Statistics) -> tuple[Tensor, Objective] | None:
        hotter = 2 * self.temperature
        if self.least_chance == 0 or hotter > self.max_temperature:
            return None
        assert statistics.rollout_prob_T is not None
        return statistics.rollout_prob_T < self.least_chance, replace(self, temperature=hotter)

    def at(self, progress: float) -> Objective:
        if self.sft_until == 0:
            return self
        scheduled = max(0.0, 1 - progress / self.sft_until)
        return replace(self, sft_share=max(self.sft_share, scheduled), sft_until=0.0)

    def weights(self, statistics: Statistics) -> Weights:
        weights = self._rollout_weights(statistics)
        own = 1 - self.sft_share
        if own == 1:
            return weights
        return replace(
            weights,
            label_T=self.sft_share + own * weights.label_T,
            rollout_policy_T=_scaled(weights.rollout_policy_T, own),
            missed_TK=_scaled(weights.missed_TK, own),
        )

    def _rollout_weights(self, statistics: Statistics) -> Weights:
        assert statistics.rollout_prob_T is not None
        if self.num_rollouts == "exact":
            hit_rate_T = statistics.rollout_prob_T
            return Weights(
                label_T=(1 - self.wrong_reward) * hit_rate_T,
                rollout_policy_T=hit_rate_T.new_full(hit_rate_T.shape, self.wrong_reward),
                reward_T=hit_rate_T + self.wrong_reward * (1 - hit_rate_T),
            )
        assert statistics.num_hits_T is not None
        hit_rate_T = statistics.num_hits_T / self.num_rollouts
        wrong_weight = self.wrong_reward / self.num_rollouts
        return Weights(
            label_T=hit_rate_T,
            missed_TK=hit_rate_T.new_full((len(hit_rate_T), 1), wrong_weight)
            if self.wrong_reward != 0
            else None,
            reward_T=hit_rate_T + self.wrong_reward * (1 - hit_rate_T),
        )


def _scaled(weight: Tensor | None, factor: float) -> Tensor | None:
    return None if weight is None else factor * weight
