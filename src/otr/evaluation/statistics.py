"""Intervals and tests: of a share, of a mean over seeds, of a paired difference. All at 95 %."""

import math
from dataclasses import dataclass

from scipy import stats

_CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over runs with its uncertainty."""

    mean: float

    half_width: float | None
    """Half of the 95 % interval; None for a single run, which has none."""

    values: tuple[float, ...]
    """What the mean is of, in the order of the seeds."""

    p_value: float | None = None
    """Two-sided, of the mean being 0; only for differences of two runs or more."""

    @property
    def distinguishable(self) -> bool:
        """Whether the 95 % interval leaves out 0."""
        return self.half_width is not None and abs(self.mean) > self.half_width


def wilson_interval(share: float, n: int) -> tuple[float, float]:
    """The Wilson score interval of a share observed on n questions.

    (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n),  z the normal quantile

    For whole counts it is scipy's `binomtest(…).proportion_ci(method="wilson")`; the share need
    not be a whole count here, because it may be a mean over several answers a question.
    """
    assert n > 0 and 0 <= share <= 1
    z = float(stats.norm.ppf((1 + _CONFIDENCE) / 2))
    centre = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low, high = (centre - half) / scale, (centre + half) / scale
    return (0.0 if share == 0 else low, 1.0 if share == 1 else high)


def mean_estimate(values: list[float], *, grain: float = 0.0) -> Estimate:
    """Mean over seeds with its t interval: mean ± t(n-1) s / √n.

    `grain` is the step in which the values come, one question's worth: the half-width is never
    below it, so that a few seeds that happen to agree do not look like certainty.
    """
    assert values
    num_values = len(values)
    mean = math.fsum(values) / num_values
    if num_values == 1:
        return Estimate(mean=mean, half_width=None, values=tuple(values))
    variance = math.fsum((value - mean) ** 2 for value in values) / (num_values - 1)
    quantile = float(stats.t.ppf((1 + _CONFIDENCE) / 2, num_values - 1))
    half_width = quantile * math.sqrt(variance / num_values)
    return Estimate(mean=mean, half_width=max(half_width, grain), values=tuple(values))


def paired_difference(
    values: dict[int, float], reference: dict[int, float], *, grain: float = 0.0
) -> Estimate | None:
    """The mean of value minus reference over the seeds that both have, with a paired t interval.

    None if they share no seed.
    """
    seeds = sorted(values.keys() & reference.keys())
    if not seeds:
        return None
    differences = [values[seed] - reference[seed] for seed in seeds]
    estimate = mean_estimate(differences, grain=grain)
    if len(differences) < 2:
        return estimate
    spread = math.sqrt(
        math.fsum((value - estimate.mean) ** 2 for value in differences)
        / (len(differences) - 1)
        / len(differences)
    )
    if spread == 0:
        p_value = 1.0 if estimate.mean == 0 else 0.0
    else:
        t = abs(estimate.mean) / spread
        p_value = 2 * float(stats.t.sf(t, len(differences) - 1))
    return Estimate(
        mean=estimate.mean,
        half_width=estimate.half_width,
        values=estimate.values,
        p_value=p_value,
    )


def rejected_by_holm(p_values: dict[str, float], level: float = 1 - _CONFIDENCE) -> list[str]:
    """The hypotheses that Holm's step-down procedure rejects, the smallest p-value first.

    The i-th smallest of m p-values, counted from 0, is held against level / (m - i); the first
    that is not below ends it.
    """
    rejected = []
    for index, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        if p_values[name] > level / (len(p_values) - index):
            break
        rejected.append(name)
    return rejected
