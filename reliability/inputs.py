"""What is fed to otr at random: sound files with spoilt places, and rows of all kinds."""

import json

from hypothesis import strategies as st

RECIPE = """\
model: demo
data: {train: rows.jsonl, prompt: prompt, completion: completion}
objective:
  name: otr
  num_rollouts: 64
  anchor: {kl: 0.1, direction: forward}
training:
  max_steps: 100
  learning_rate: 1.0e-4
lora: {r: 8, target_modules: all-linear}
output_dir: runs/first
seed: 0
"""

STUDY = """\
base: {model: demo, data: {train: rows.jsonl, prompt: a, completion: b}, training: {max_steps: 3}}
objectives: [{name: sft}, {name: otr, floor: 0.1}, {name: grpo, num_generations: 4}]
learning_rates: [1.0e-4, 1.0e-3]
seeds: [0, 1]
validation: {benchmark: demo/validation}
benchmarks: {in_domain: [demo/in_domain], retention: [demo/retention]}
output_dir: studies/first
"""

TEMPLATE = """\
{%- for message in messages %}<|{{ message.role }}|> {{ message['content'] | trim }}<|endoftext|>
{% endfor %}
{%- if add_generation_prompt %}<|assistant|> {% endif %}"""

_COLUMNS = (
    "prompt",
    "completion",
    "question",
    "answer",
    "text",
    "messages",
    "conversations",
    "tools",
)

_words = st.lists(
    st.sampled_from(("add", "1", "7", "and", "ans", "so", ".", ":", "+", "=", "repeat")),
    max_size=12,
).map(" ".join)
"""Text that the embedded tokenizer knows."""

_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=True)
    | st.text(max_size=20)
)
_json = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(("role", "content", "name", "from", "value", "x")), inner)
    ),
    max_leaves=8,
)
turns = st.fixed_dictionaries(
    {
        "role": st.sampled_from(("user", "assistant", "system", "tool", "")),
        "content": st.text(max_size=30) | _json,
    }
)


@st.composite
def spoilt_text(draw: st.DrawFn, base: str) -> str:
    """A text with a few places cut out, doubled or replaced."""
    text = base
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        stop = draw(st.integers(start, min(len(text), start + 40)))
        middle = draw(
            st.sampled_from(
                ("", text[start:stop] * 2, "\n", ": ", "{}", "[1]", "&a *a", "!!x", "\t", "%}")
            )
            | st.text(max_size=12)
        )
        text = text[:start] + middle + text[stop:]
    return text


@st.composite
def spoilt_bytes(draw: st.DrawFn, content: bytes) -> bytes | None:
    """Bytes with a bit flipped, cut short, replaced or (None) gone."""
    kind = draw(st.sampled_from(("flip", "cut", "replace", "gone", "json")))
    if kind == "gone":
        return None
    if kind == "replace":
        return draw(st.binary(max_size=40))
    if kind == "json":
        return json.dumps(draw(_json)).encode()
    if kind == "cut" or not content:
        return content[: draw(st.integers(0, max(0, len(content) - 1)))]
    place = draw(st.integers(0, len(content) - 1))
    spoilt = bytearray(content)
    spoilt[place] ^= 1 << draw(st.integers(0, 7))
    return bytes(spoilt)


rows = st.dictionaries(
    st.sampled_from(_COLUMNS), st.text(max_size=40) | st.lists(turns, max_size=4) | _json
)
good_rows = st.fixed_dictionaries({"prompt": _words, "completion": _words.filter(bool)})
good_turns = st.lists(_words.filter(bool), min_size=2, max_size=4).map(
    lambda texts: [
        {"role": ("user", "assistant")[place % 2], "content": text}
        for place, text in enumerate(texts)
    ]
)
questions = st.fixed_dictionaries(
    {"question": st.text(max_size=20), "answer": st.sampled_from(("#### 4", "It is 4.", "no", 4))}
)
spoilt_questions = spoilt_text('{"question": "2 + 2?", "answer": "It is 4.\\n#### 4"}\n')
data_sections = st.fixed_dictionaries(
    {},
    optional={
        "prompt": st.sampled_from(_COLUMNS),
        "completion": st.sampled_from(_COLUMNS),
        "messages": st.sampled_from(_COLUMNS),
        "text": st.sampled_from(_COLUMNS),
        "separator": st.text(max_size=3),
        "overlong": st.sampled_from(("error", "drop", "truncate")),
        "limit": st.integers(1, 3),
    },
)
