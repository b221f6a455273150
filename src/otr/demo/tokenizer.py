"""The tokenizer of the embedded base models: bytes, lone digits, and a few hundred whole words.

Any text goes through it and comes back unchanged. A word of the tasks is one token, with or
without the space before it; so is a common English word, to keep prose a little shorter; anything
else is spelt in bytes. There are no merges to learn.
"""

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from otr.demo.tasks import LETTERS
from otr.demo.training_data import FILLERS

END = "<|endoftext|>"
PAD = "<|pad|>"
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
SPECIAL_TOKENS = (END, PAD, TURN_START, TURN_END)

_TASK_WORDS = (
    "add and what is plus sub from max reverse sort count in chain minus take least left ans "
    "gives column with makes carry"
).split()
_SYMBOLS = "+ - = < > , ; : .".split()
_COMMON_WORDS = (
    "the of to a for that it on are was as be this by at he she they his her have has had not or "
    "which you can will each all how many much more than if do does did one two three four five "
    "ten half times there their were an but per total day days week hours minutes cost left "
    "number make made get got buy bought sold gave give eat out up into same old new first last"
).split()

# A space goes with what follows it; digits stand alone; letters, marks and white space in runs.
_PIECES = r" ?\p{N}| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

# Plain ChatML. Reasoning goes in <think>, calls and their results in tags of their own, as text.
CHAT_TEMPLATE = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages and messages[0].role == 'system' %}
        {{- messages[0].content + '\\n\\n' }}
    {%- endif %}
    {{- 'Tools:\\n' }}
    {%- for tool in tools %}
        {{- tool | tojson + '\\n' }}
    {%- endfor %}
    {{- 'Call one with <tool_call>{"name": ..., "arguments": {...}}</tool_call>.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if not (tools and loop.first and message.role == 'system') %}
        {{- '<|im_start|>' + message.role + '\\n' }}
        {%- if message.reasoning_content %}
            {{- '<think>\\n' + message.reasoning_content + '\\n</think>\\n' }}
        {%- endif %}
        {%- if message.role == 'tool' %}
            {{- '<tool_response>' }}
        {%- endif %}
        {%- if message.content is string %}
            {{- message.content }}
        {%- elif message.content %}
            {%- for part in message.content %}
                {{- part.text }}
            {%- endfor %}
        {%- endif %}
        {%- if message.role == 'tool' %}
            {{- '</tool_response>' }}
        {%- endif %}
        {%- for call in message.tool_calls or [] %}
            {%- set function = call.function or call %}
            {{- '<tool_call>{"name": ' + function.name | tojson + ', "arguments": ' }}
            {%- if function.arguments is string %}
                {{- function.arguments }}
            {%- else %}
                {{- function.arguments | tojson }}
            {%- endif %}
            {{- '}</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


def demo_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer, made from the word lists above; the same ids every time.

    The end token is `<|endoftext|>`, and padding has a token of its own. Nothing is added in
    front of a text or behind it.
    """
    tokenizer = Tokenizer(
        models.BPE(vocab=_vocabulary(), merges=[], fuse_unk=False, ignore_merges=True)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[TURN_START, TURN_END],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=4096,
    )


def _vocabulary() -> dict[str, int]:
    """Token to id: special tokens, the 256 bytes, then words without and with a space."""
    # ByteLevel writes a space as this letter, and every other byte as some printable one.
    space = "\u0120"
    bytes_alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*SPECIAL_TOKENS, *bytes_alphabet]
    spaced = [*"0123456789", *LETTERS, *_SYMBOLS]
    words = [*_TASK_WORDS, *FILLERS, *_COMMON_WORDS]
    starts = [name for name in _TASK_WORDS if name.isalpha()]
    tokens += [space + word for word in (*spaced, *words)] + starts
    return {token: index for index, token in enumerate(dict.fromkeys(tokens))}
