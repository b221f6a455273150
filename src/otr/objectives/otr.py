"""One-Token Rollout: rewarded draws from the model's own distribution at every token."""

from dataclasses import dataclass
from typing import ClassVar, Literal

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

    Raises: ValueError unless num_rollouts is a positive count or "exact", temperature is above
    0 and wrong_reward below 1.
    Source: arXiv:2509.26313.
    """

    name: ClassVar[str] = "otr"

    num_rollouts: int | Literal["exact"] = 256
    """Words drawn at each token, K; `exact` for the closed form of infinitely many."""

    temperature: float = 1.3
    """Temperature of the rollout policy; above 1 to explore."""

    wrong_reward: float = -0.1
    """Reward of a word that is not the label."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_rollouts != "exact":
            try:
                require_count("num_rollouts", self.num_rollouts)
            except ValueError as error:
                raise ValueError(f"{error}; or `exact` for the closed form") from None
        require_number("temperature", self.temperature, above=0)
        require_number("wrong_reward", self.wrong_reward, below=1)

    def needs(self) -> Needs:
        if self.num_rollouts == "exact":
            return Needs(temperature=self.temperature)
        return Needs(
            temperature=self.temperature,
            num_rollouts=self.num_rollouts,
            missed_words=self.wrong_reward != 0,
        )

    def weights(self, statistics: Statistics) -> Weights:
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
