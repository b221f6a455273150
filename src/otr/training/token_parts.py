"""What objectives make of single tokens: weights, pushes and losses, down to the word.

With the policy pi = softmax(z), the weights w that an objective gives, and W = sum_v w_v:

    push_v = -dL/dz_v = w_v - W pi_v  (- tau pi_v (log pi_v + H) with an entropy bonus)
    L      = sum_v -w_v log pi_v      (- tau H)

so a word's push is the direction in which a step of gradient descent moves its logit, and the
words' parts add up to the token's loss.

Shapes: T supervised tokens, V vocabulary, K rollouts.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from otr.lm_head.reference import TokenWeights, token_weights
from otr.objectives import Objective

_MOST_PROBABLE = 10
_MOST_DRAWN = 8
_DIGITS = 7
_LEAST = 1e-12
"""A part below it is what rounding leaves."""


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """One objective's parts of every token, in float64."""

    found: TokenWeights
    total_T: Tensor
    bonus_T: Tensor
    """-tau H."""
    losses_T: Tensor
    push_TV: Tensor
    loss_TV: Tensor
    """-w_v log pi_v."""
    is_own_T: Tensor
    """Whether the token's loss is another expression than the sum of `loss_TV`."""
    q_TV: Tensor | None
    drawn: list[Counter[int]] | None
    """Draws of each word, a counter a token."""


def token_parts(
    logits_TV: Tensor,
    labels_T: Tensor,
    keys_T: Tensor,
    objectives: Sequence[Objective],
    *,
    seed: int,
    word_text: Callable[[int], str],
) -> list[dict[str, Any]]:
    """The objects of supervised tokens in tokens.json; see `otr.training.inspection`.

    Shapes: logits (T, V) after scale and softcap, float32 or float64; labels and keys (T,).
    Memory: about 3 + 4 times the number of objectives such matrices of float64.
    """
    log_pi_TV = logits_TV.double().log_softmax(-1)
    pi_TV = log_pi_TV.exp()
    entropy_T = -(pi_TV * log_pi_TV).sum(-1)
    parts = [
        _parts(token_weights(each, logits_TV, labels_T, keys_T, seed), logits_TV, log_pi_TV)
        for each in objectives
    ]
    top_T10 = pi_TV.topk(min(_MOST_PROBABLE, pi_TV.shape[1]), -1).indices.tolist()
    is_top1 = (logits_TV.argmax(-1) == labels_T).tolist()
    tokens = []
    for t, label in enumerate(labels_T.tolist()):
        listed = {label, *top_T10[t]}
        for each in parts:
            if each.drawn is not None:
                wrong = [word for word, _ in each.drawn[t].most_common() if word != label]
                listed.update(wrong[:_MOST_DRAWN])
        words = torch.tensor(sorted(listed, key=lambda word: (-float(pi_TV[t, word]), word)))
        probs = pi_TV[t, words].tolist()
        tokens.append(
            {
                "p": _short(pi_TV[t, label]),
                "entropy": _short(entropy_T[t]),
                "is_top1": is_top1[t],
                "words": [
                    {"id": w, "text": word_text(w), "p": _short(p), "is_label": w == label}
                    for w, p in zip(words.tolist(), probs, strict=True)
                ],
                "others": {
                    "num_words": pi_TV.shape[1] - len(words),
                    "p": _short(max(0.0, 1 - sum(probs))),
                },
                "objectives": [_of_token(each, t, label, words) for each in parts],
            }
        )
    return tokens


def _parts(found: TokenWeights, logits_TV: Tensor, log_pi_TV: Tensor) -> _Parts:
    weights_TV = found.weights_TV.double()
    pi_TV = log_pi_TV.exp()
    entropy_T = -(pi_TV * log_pi_TV).sum(-1)
    total_T = weights_TV.sum(-1)
    push_TV = weights_TV - total_T[:, None] * pi_TV
    bonus_T = torch.zeros_like(entropy_T)
    if found.entropy_weight_T is not None:
        tau_T = found.entropy_weight_T.double()
        push_TV -= tau_T[:, None] * pi_TV * (log_pi_TV + entropy_T[:, None])
        bonus_T = -tau_T * entropy_T
    loss_TV = -weights_TV * log_pi_TV
    losses_T = loss_TV.sum(-1) + bonus_T
    is_own_T = torch.zeros_like(losses_T, dtype=torch.bool)
    if found.loss_T is not None:
        losses_T, is_own_T = found.loss_T.double(), ~is_own_T
    q_TV = drawn = None
    if found.temperature_T is not None:
        q_TV = (logits_TV.double() / found.temperature_T.double()[:, None]).softmax(-1)
    if found.words_TK is not None:
        drawn = [Counter(words) for words in found.words_TK.tolist()]
    return _Parts(
        found=found,
        total_T=total_T,
        bonus_T=bonus_T,
        losses_T=losses_T,
        push_TV=push_TV,
        loss_TV=loss_TV,
        is_own_T=is_own_T,
        q_TV=q_TV,
        drawn=drawn,
    )


def _of_token(parts: _Parts, t: int, label: int, words: Tensor) -> dict[str, Any]:
    """What one objective makes of token t, with the listed words and the rest."""
    found, ids = parts.found, words.tolist()
    weights_V, push_V = found.weights_TV[t].double(), parts.push_TV[t]
    q_V = None if parts.q_TV is None else parts.q_TV[t]
    drawn = None if parts.drawn is None else parts.drawn[t]
    others: dict[str, Any] = {
        "weight": _short(parts.total_T[t] - weights_V[words].sum()),
        "push": _short(push_V.sum() - push_V[words].sum()),
    }
    temperature = None if found.temperature_T is None else _short(found.temperature_T[t])
    if q_V is not None:
        others["q"] = _short((1 - q_V[words].sum()).clamp(min=0))
    if drawn is not None:
        others["num_drawn"] = len(set(drawn) - set(ids))
        others["draws"] = drawn.total() - sum(drawn[word] for word in ids)
    return {
        "weight": _short(weights_V[label]),
        "total_weight": _short(parts.total_T[t]),
        "push": _short(push_V[label]),
        "gradient_norm": _short(push_V.abs().sum()),
        "loss": _short(parts.losses_T[t]),
        "parts": _loss_parts(parts, t, label, words),
        "hit_rate": _short(found.hit_rate_T[t]),
        "reward": _short(found.reward_T[t]),
        "temperature": temperature,
        "q": None if q_V is None else _short(q_V[label]),
        "hits": None if drawn is None else drawn[label],
        "weights": _shorts(weights_V[words]),
        "pushes": _shorts(push_V[words]),
        "losses": None if parts.is_own_T[t] else _shorts(parts.loss_TV[t, words]),
        "qs": None if q_V is None else _shorts(q_V[words]),
        "draws": None if drawn is None else [drawn[word] for word in ids],
        "others": others,
    }


def _loss_parts(parts: _Parts, t: int, label: int, words: Tensor) -> dict[str, float]:
    """The token's loss by what it comes from: the label, the other listed words, the words not
    listed, the entropy bonus. Where the loss is an expression of its own, `others` is whatever
    the label's share leaves."""
    loss, bonus, of_label = parts.losses_T[t], parts.bonus_T[t], parts.loss_TV[t, label]
    of_words = torch.zeros_like(loss)
    if not parts.is_own_T[t]:
        of_words = parts.loss_TV[t, words].sum() - of_label
    elif (parts.found.weights_TV[t] != 0).sum() <= 1:
        of_label = loss - bonus
    rest = loss - bonus - of_label - of_words
    return {
        "label": _short(of_label),
        "words": _short(of_words),
        "others": _short(rest) if abs(rest) > _LEAST else 0.0,
        "bonus": _short(bonus),
    }


def _short(value: Any) -> float:
    """A float of few digits, so that the files stay small; never -0."""
    return float(f"{float(value):.{_DIGITS}g}") + 0.0


def _shorts(values: Tensor) -> list[float]:
    return [_short(value) for value in values.tolist()]
