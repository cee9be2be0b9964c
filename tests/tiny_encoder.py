"""Tiny BERT models with random weights, in folders as Hugging Face writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn

from models.builders.export import export_legacy

WORDS = (
    "the a an of and in is was to by for with not no who what where when does did run runs running "
    "engine model sparse dense column columns zero zeros good bad great awful film book harbour "
    "light winter alice bob lives works lived worked berlin paris rome london acme corp inc bank "
    "open close opened closed on at every line fox dog cat house red blue green old new happy sad "
    "this example about politics sport science"
).split()
PIECES = "##s ##ed ##ing ##er ##ly ##a ##e ##i ##o ##u ##n ##r ##t ##l ##d".split()
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = list("abcdefghijklmnopqrstuvwxyz.,?!:0123456789")
VOCABULARY = [*SPECIAL, *WORDS, *PIECES, *LETTERS, *(f"##{c}" for c in "bcfghjkmpqvwxyz0123456789")]
LENGTH_MAX = 64

HEADS = {
    "text": (transformers.BertForSequenceClassification, ("logits",)),
    "token": (transformers.BertForTokenClassification, ("logits",)),
    "answer": (transformers.BertForQuestionAnswering, ("start_logits", "end_logits")),
    "plain": (transformers.BertModel, ("last_hidden_state",)),
}
PER_TOKEN = ("token", "answer", "plain")


class _Outputs(nn.Module):
    """The model as a plain function of three tensors."""

    def __init__(self, model: nn.Module, outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.outputs = outputs

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor) -> tuple[Tensor, ...]:
        made = self.model(input_ids=ids, attention_mask=mask, token_type_ids=types)
        return tuple(made[name] for name in self.outputs)


def make_tokenizer() -> Tokenizer:
    """WordPiece over a small vocabulary, with [CLS] and [SEP]."""
    ids = {word: i for i, word in enumerate(VOCABULARY)}
    made = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    return made


def write_encoder(folder: Path, head: str, labels: tuple[str, ...] = (), seed: int = 0) -> Any:
    """Write model.onnx, tokenizer.json and config.json; returns the model with its weights."""
    torch.manual_seed(seed)
    kind, outputs = HEADS[head]
    config = transformers.BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=LENGTH_MAX,
        initializer_range=0.6,
        id2label=dict(enumerate(labels)) or None,
        label2id={label: i for i, label in enumerate(labels)} or None,
    )
    model = kind(config).eval()
    make_tokenizer().save(str(folder / "tokenizer.json"))
    config.save_pretrained(folder)
    ids = torch.arange(5, 21).reshape(2, 8)
    mask = torch.ones_like(ids)
    mask[1, -2:] = 0  # a mask of ones only could be traced away
    axes = {0: "batch", 1: "sequence"}
    export_legacy(
        _Outputs(model, outputs),
        (ids, mask, torch.zeros_like(ids)),
        folder / "model.onnx",
        inputs=dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), axes),
        outputs=dict.fromkeys(outputs, axes if head in PER_TOKEN else {0: "batch"}),
    )
    return model


def peer_tokenizer(folder: Path) -> Any:
    """The same tokenizer, as transformers uses it."""
    return transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        model_max_length=LENGTH_MAX,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **{f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")},
    )
