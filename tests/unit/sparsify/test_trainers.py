"""Recipes inside of the trainers of transformers and Lightning, on tiny real models."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from colonnade.errors import CheckpointError, RecipeError, RunError
from colonnade.sparsify import Action, Modifier, Recipe
from colonnade.sparsify.modifiers.gradual_magnitude import GradualMagnitude
from colonnade.sparsify.modifiers.learning_rate import LearningRate
from colonnade.sparsify.recipe import read_recipe

transformers = pytest.importorskip("transformers")
pl = pytest.importorskip("pytorch_lightning")

from pytorch_lightning.callbacks import ModelCheckpoint  # noqa: E402

from colonnade.sparsify.trainers import lightning as lightning_trainer  # noqa: E402
from colonnade.sparsify.trainers import transformers as transformers_trainer  # noqa: E402

SAMPLES, BATCH = 16, 4
RATES = [1e-2 * (8 - step) / 8 for step in range(8)]


@dataclass(frozen=True, kw_only=True)
class Rates(Modifier):
    """Writes down the learning rate with which the optimizer steps."""

    seen: list[float] = field(default_factory=list, compare=False, repr=False)

    def initialize(self, _: Any) -> Action:
        return _Watch(self.seen)


class _Watch(Action):
    def __init__(self, seen: list[float]) -> None:
        self._seen = seen

    def before_optimizer(self, run: Any) -> None:
        self._seen.append(run.optimizer.param_groups[0]["lr"])


def watched() -> tuple[Recipe, list[float]]:
    rates = Rates()
    return Recipe.of(*RECIPE.stages[0].modifiers, rates, epochs=2.0), rates.seen


RECIPE = Recipe.of(
    GradualMagnitude(targets=("re:.*encoder.*",), final_sparsity=0.8, end=1.0),
    LearningRate(init=1e-2, schedule="linear"),
    epochs=2.0,
)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Both libraries warn about what they do themselves."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    torch.set_num_threads(threads)


class Sentences(Dataset[dict[str, Tensor]]):
    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.tokens = torch.randint(0, 30, (SAMPLES, 6), generator=generator)

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        tokens = self.tokens[index]
        return {"input_ids": tokens, "labels": (tokens.sum() % 2).long()}


class Texts(Sentences):
    """Every token is to be predicted, but for some that do not count."""

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        tokens = self.tokens[index]
        return {"input_ids": tokens, "labels": tokens}


def tiny_llama(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=30,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=16,
    )
    return transformers.LlamaForCausalLM(config)


def tiny_bert(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=30,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=8,
        num_labels=2,
    )
    return transformers.BertForSequenceClassification(config)


def hugging(
    folder: Path, callback: Any, *, max_steps: int = -1, accumulate: int = 1
) -> tuple[Any, Any]:
    args = transformers.TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=2,
        per_device_train_batch_size=BATCH,
        gradient_accumulation_steps=accumulate,
        max_steps=max_steps,
        save_steps=3,
        logging_steps=1,
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        seed=1,
        weight_decay=0.1,
        max_grad_norm=1.0,
    )
    model = tiny_bert()
    trainer = transformers.Trainer(
        model,
        args,
        train_dataset=Sentences(),
        eval_dataset=Sentences(),
        callbacks=None if callback is None else [callback],
    )
    return trainer, model


def encoder_sparsity(model: nn.Module) -> float:
    weights = [
        module.weight
        for name, module in model.named_modules()
        if "encoder" in name and isinstance(module, nn.Linear)
    ]
    return sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights)


def test_transformers_trainer(tmp_path: Path) -> None:
    recipe, rates = watched()
    callback = transformers_trainer.SparsifyCallback(recipe)
    trainer, model = hugging(tmp_path, callback)
    trainer.train()
    trainer.evaluate()
    assert rates == pytest.approx(RATES)  # the recipe's, not the Trainer's
    assert encoder_sparsity(model) == pytest.approx(0.8, abs=0.005)
    run = callback.session.run
    assert (run.step, run.num_steps, run.notes) == (8, 8, [])
    history = callback.session.history
    assert len(history.series["loss"].points) == 8
    assert "eval_loss" in history.series


def test_transformers_trainer_accumulates(tmp_path: Path) -> None:
    callback = transformers_trainer.SparsifyCallback(RECIPE)
    trainer, model = hugging(tmp_path, callback, accumulate=2)
    trainer.train()
    assert callback.session.run.step == callback.session.run.num_steps == 4
    assert encoder_sparsity(model) == pytest.approx(0.8, abs=0.005)


def test_transformers_trainer_resumes(tmp_path: Path) -> None:
    whole_trainer, whole = hugging(tmp_path / "a", transformers_trainer.SparsifyCallback(RECIPE))
    whole_trainer.train()
    callback = transformers_trainer.SparsifyCallback(RECIPE)
    again, model = hugging(tmp_path / "a", callback)
    again.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-3"))
    assert callback.session.run.step == 8
    for name, value in whole.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


RESUMED = {
    "quantization": "{quantization: {}}",
    "quantization, ranges frozen before": "{quantization: {freeze_observers: 0.25}}",
    "channel_pruning": "{channel_pruning: {sparsity: 0.5, end: 1.5}}",
    "channel_pruning to the end": "{channel_pruning: {sparsity: 0.5, end: 2, thin: false}}",
    "nm_flow": '{nm_flow: {pattern: "2:4", fine_tune: 0.5}}',
    "top_kast": "{top_kast: {forward_sparsity: 0.5, backward_sparsity: 0.2}}",
    "powerpropagation": "powerpropagation",
}


def recipe_of(modifiers: str) -> Recipe:
    return read_recipe(f"epochs: 2\nmodifiers: [{modifiers}]")


@pytest.mark.parametrize("modifiers", RESUMED.values(), ids=RESUMED.keys())
def test_transformers_trainer_resumes_with_the_same_bits(tmp_path: Path, modifiers: str) -> None:
    whole_trainer, whole = hugging(
        tmp_path, transformers_trainer.SparsifyCallback(recipe_of(modifiers))
    )
    whole_trainer.train()
    again, model = hugging(tmp_path, transformers_trainer.SparsifyCallback(recipe_of(modifiers)))
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert_same_bits(model, whole)


def test_transformers_trainer_resumes_from_the_folder_it_is_told(tmp_path: Path) -> None:
    first, _ = hugging(tmp_path / "first", transformers_trainer.SparsifyCallback(RECIPE))
    first.train()
    # One of the same step, of another run, lies where the second run writes.
    other = LearningRate(init=1e-2, schedule="linear")
    stale = transformers_trainer.SparsifyCallback(Recipe.of(other, epochs=2.0))
    hugging(tmp_path / "second", stale)[0].train()
    callback = transformers_trainer.SparsifyCallback(RECIPE)
    again, model = hugging(tmp_path / "second", callback)
    again.train(resume_from_checkpoint=str(tmp_path / "first" / "checkpoint-3"))
    assert_same_bits(model, first.model)
    last, model = hugging(tmp_path / "second", transformers_trainer.SparsifyCallback(RECIPE))
    last.train(resume_from_checkpoint=True)
    assert_same_bits(model, first.model)


def test_a_transformers_checkpoint_without_the_recipe_is_refused(tmp_path: Path) -> None:
    hugging(tmp_path, None)[0].train()
    again, model = hugging(tmp_path, transformers_trainer.SparsifyCallback(RECIPE))
    with pytest.raises(CheckpointError, match="checkpoint-3.*was it saved without the recipe"):
        again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert num_hooks(model) == 0


def num_hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


class Interrupt(transformers.TrainerCallback):  # type: ignore[misc]  # untyped base
    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 2:
            raise KeyboardInterrupt


HOOKED = "{distillation: {layers: [bert.encoder]}}, {activation_sparsity: {layers: [Linear]}}"


def test_a_transformers_training_that_breaks_off_lets_go_of_the_model(tmp_path: Path) -> None:
    def break_off(callback: Any) -> Any:
        trainer, model = hugging(tmp_path, callback)
        trainer.add_callback(Interrupt())
        with pytest.raises(KeyboardInterrupt):
            trainer.train()
        return model

    with transformers_trainer.SparsifyCallback(recipe_of(HOOKED)) as callback:
        model = break_off(callback)
        assert num_hooks(model) > 0
    assert num_hooks(model) == 0
    assert callback.session.run.step == 2

    # The next training of a callback, or of a model, lets go of what broke off before.
    callback = transformers_trainer.SparsifyCallback(recipe_of(HOOKED))
    model = break_off(callback)
    trainer, other = hugging(tmp_path, callback)
    trainer.train()
    assert num_hooks(model) == num_hooks(other) == 0
    model = break_off(callback)
    trainer, _ = hugging(tmp_path, transformers_trainer.SparsifyCallback(recipe_of(HOOKED)))
    trainer.model = trainer.model_wrapped = trainer.callback_handler.model = model
    trainer.train()
    assert num_hooks(model) == 0


class Counts(nn.Module):
    """A classifier that takes no keywords: the Trainer divides its loss itself."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> Any:
        return self.inner(input_ids=input_ids, labels=labels)


ACCUMULATED = {
    # Told the number of items, and divides by it.
    "llama": (tiny_llama, Texts, "re:.*mlp.*"),
    # Told the number of items, and does not look at it.
    "bert": (tiny_bert, Sentences, "GELUActivation"),
    "not told": (lambda seed=0: Counts(tiny_bert(seed)), Sentences, "GELUActivation"),
}
ADDED = {
    "distillation": "{distillation: {teacher: given, hardness: 1.0}}",
    "half of it": "{distillation: {teacher: given, hardness: 0.5}}",
    "activation_sparsity": "{activation_sparsity: {layers: ['LAYERS'], alpha: 10}}",
}


@pytest.mark.parametrize("added", ADDED)
@pytest.mark.parametrize("kind", ACCUMULATED)
def test_what_is_added_to_the_loss_weighs_the_same_however_it_is_accumulated(
    tmp_path: Path, kind: str, added: str
) -> None:
    make, data, layers = ACCUMULATED[kind]
    recipe = recipe_of(ADDED[added].replace("LAYERS", layers))

    def first_norms(batch: int, accumulate: int) -> tuple[list[float], float]:
        model, norms = make().train(), Norms()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        callback = transformers_trainer.SparsifyCallback(recipe, teacher=make(1))
        args = transformers.TrainingArguments(
            output_dir=str(tmp_path),
            num_train_epochs=2,
            max_steps=3,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulate,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            seed=1,
            max_grad_norm=0.0,
        )
        trainer = transformers.Trainer(
            model, args, train_dataset=data(), callbacks=[callback, norms]
        )
        trainer.train()
        return norms.seen, callback.session.history.last("loss") or 0.0

    # 16 samples: the second step of an accumulated epoch of 12 has fewer batches.
    whole, parts, ragged = first_norms(8, 1), first_norms(2, 4), first_norms(1, 12)
    assert parts[0] == pytest.approx(whole[0], rel=1e-4)
    assert parts[1] == pytest.approx(whole[1], rel=1e-4)
    assert ragged[0][1] == pytest.approx(first_norms(4, 3)[0][1], rel=1e-4)


class Norms(transformers.TrainerCallback):  # type: ignore[misc]  # untyped base
    """Writes down the norm of the gradients of each step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_pre_optimizer_step(self, *_: Any, model: nn.Module, **__: Any) -> None:
        squares = (p.grad.square().sum() for p in model.parameters() if p.grad is not None)
        self.seen.append(float(sum(squares)) ** 0.5)


def assert_same_bits(model: nn.Module, whole: nn.Module) -> None:
    expected, found = whole.state_dict(), model.state_dict()
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


@dataclass(frozen=True, kw_only=True)
class Scaled(Modifier):
    """Multiplies the loss."""

    factor: Any  # a float field would refuse NaN

    def initialize(self, _: Any) -> Action:
        return _Scaling(self.factor)


class _Scaling(Action):
    def __init__(self, factor: float) -> None:
        self._factor = factor
        self.seen: list[tuple[bool, bool]] = []

    def loss(self, _: Any, loss: Tensor, outputs: Any, batch: Any) -> Tensor:
        self.seen.append((outputs is not None, batch is not None))
        return loss * self._factor


def test_loss_modifiers_and_nan_in_the_transformers_trainer(tmp_path: Path) -> None:
    callback = transformers_trainer.SparsifyCallback(Recipe.of(Scaled(factor=0.0), epochs=2.0))
    trainer, _ = hugging(tmp_path, callback)
    trainer.train()
    assert callback.session.history.last("loss") == 0.0
    bad = transformers_trainer.SparsifyCallback(Recipe.of(Scaled(factor=float("nan")), epochs=2.0))
    trainer, _ = hugging(tmp_path, bad)
    with pytest.raises(RunError, match="the loss is nan in step 0"):
        trainer.train()


class Lit(pl.LightningModule):  # type: ignore[misc]  # untyped base
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Linear(6, 16)
        self.head = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.relu(self.encoder(x)))
        return logits

    def training_step(self, batch: Any, _: int) -> Tensor:
        x, y = batch
        return nn.functional.cross_entropy(self(x), y)

    def validation_step(self, batch: Any, _: int) -> None:
        x, y = batch
        self.log("val_accuracy", (self(x).argmax(1) == y).float().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), 0.5, weight_decay=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


def loader() -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(SAMPLES, 6, generator=generator)
    return DataLoader(TensorDataset(x, (x.sum(1) > 0).long()), batch_size=BATCH)


def lit_trainer(folder: Path, callback: Any, epochs: int = 2, **options: Any) -> Any:
    return pl.Trainer(
        max_epochs=epochs,
        callbacks=callback,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=str(folder),
        num_sanity_val_steps=0,
        **options,
    )


def test_lightning_trainer(tmp_path: Path) -> None:
    recipe, rates = watched()
    callback, module = lightning_trainer.SparsifyCallback(recipe), Lit()
    options = {"enable_checkpointing": False, "gradient_clip_val": 1.0}
    lit_trainer(tmp_path, callback, **options).fit(module, loader(), loader())
    assert rates == pytest.approx(RATES)
    assert (module.encoder.weight == 0).sum() == round(96 * 0.8)
    run = callback.session.run
    assert (run.step, run.num_steps, run.notes) == (8, 8, [])
    assert "val_accuracy" in callback.session.history.series
    assert "training_step" not in vars(module)


def test_lightning_trainer_accumulates(tmp_path: Path) -> None:
    callback, module = lightning_trainer.SparsifyCallback(RECIPE), Lit()
    options = {"enable_checkpointing": False, "accumulate_grad_batches": 2}
    lit_trainer(tmp_path, callback, **options).fit(module, loader())
    assert callback.session.run.step == callback.session.run.num_steps == 4
    assert (module.encoder.weight == 0).sum() == round(96 * 0.8)


def test_lightning_trainer_resumes(tmp_path: Path) -> None:
    whole = Lit()
    callback = lightning_trainer.SparsifyCallback(RECIPE)
    lit_trainer(tmp_path, callback, enable_checkpointing=False).fit(whole, loader())
    half = lit_trainer(tmp_path, lightning_trainer.SparsifyCallback(RECIPE), epochs=1)
    half.fit(Lit(), loader())
    path = tmp_path / "half.ckpt"
    half.save_checkpoint(path)
    module, callback = Lit(), lightning_trainer.SparsifyCallback(RECIPE)
    lit_trainer(tmp_path, callback, enable_checkpointing=False).fit(
        module, loader(), ckpt_path=path
    )
    assert callback.session.run.step == 8
    for name, value in whole.state_dict().items():
        assert torch.equal(value, module.state_dict()[name]), name


@pytest.mark.parametrize("modifiers", RESUMED.values(), ids=RESUMED.keys())
def test_lightning_trainer_resumes_with_the_same_bits(tmp_path: Path, modifiers: str) -> None:
    whole = Lit()
    callback = lightning_trainer.SparsifyCallback(recipe_of(modifiers))
    # At an epoch's end: in its midst Lightning begins with its first batch again.
    saves = ModelCheckpoint(tmp_path, every_n_train_steps=4, save_top_k=-1, filename="{step}")
    lit_trainer(tmp_path, [callback, saves]).fit(whole, loader())
    module = Lit()
    callback = lightning_trainer.SparsifyCallback(recipe_of(modifiers))
    lit_trainer(tmp_path, callback, enable_checkpointing=False).fit(
        module, loader(), ckpt_path=tmp_path / "step=4.ckpt"
    )
    assert_same_bits(module, whole)


def test_lightning_still_refuses_the_checkpoint_of_another_module(tmp_path: Path) -> None:
    half = lit_trainer(tmp_path, lightning_trainer.SparsifyCallback(RECIPE), epochs=1)
    other = Lit()
    other.register_buffer("extra", torch.zeros(2))
    half.fit(other, loader())
    half.save_checkpoint(tmp_path / "half.ckpt")
    callback, module = lightning_trainer.SparsifyCallback(RECIPE), Lit()
    again = lit_trainer(tmp_path, callback, enable_checkpointing=False)
    with pytest.raises(CheckpointError, match=r"of another module: [\s\S]*extra"):
        again.fit(module, loader(), ckpt_path=tmp_path / "half.ckpt")
    assert module.strict_loading
    assert "training_step" not in vars(module)


def test_lightning_says_that_a_checkpoint_has_no_recipe(tmp_path: Path) -> None:
    half = lit_trainer(tmp_path, [], epochs=1)
    half.fit(Lit(), loader())
    half.save_checkpoint(tmp_path / "half.ckpt")
    callback = lightning_trainer.SparsifyCallback(RECIPE)
    again = lit_trainer(tmp_path, callback, enable_checkpointing=False)
    with pytest.raises(CheckpointError, match="was it saved without the recipe"):
        again.fit(Lit(), loader(), ckpt_path=tmp_path / "half.ckpt")


def test_loss_modifiers_and_nan_in_lightning(tmp_path: Path) -> None:
    callback = lightning_trainer.SparsifyCallback(Recipe.of(Scaled(factor=0.0), epochs=1.0))
    lit_trainer(tmp_path, callback, 1, enable_checkpointing=False).fit(Lit(), loader())
    assert callback.session.history.last("loss") == 0.0
    bad = lightning_trainer.SparsifyCallback(Recipe.of(Scaled(factor=float("nan")), epochs=1.0))
    with pytest.raises(RunError, match="the loss is nan in step 0"):
        lit_trainer(tmp_path, bad, 1, enable_checkpointing=False).fit(Lit(), loader())


class Returns(Lit):
    """What training_step returns, and how it calls the module, are to be chosen."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def training_step(self, batch: Any, _: int) -> Any:
        x, y = batch
        logits = self.forward(x) if "aside" in self.kind else self(x)
        if "twice" in self.kind:
            self(x)
        loss = nn.functional.cross_entropy(logits, y)
        kinds = {"loss": {"loss": loss}, "logits": {"loss": loss, "logits": logits}}
        kinds["outputs"] = {"loss": loss, "outputs": (logits, None)}
        return kinds.get(self.kind.split()[0], loss)


def distilled(tmp_path: Path, kind: str) -> tuple[Returns, Tensor]:
    torch.manual_seed(3)
    teacher = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))
    recipe = recipe_of("{distillation: {teacher: given, hardness: 1.0}}")
    callback = lightning_trainer.SparsifyCallback(recipe, teacher=teacher)
    module = Returns(kind)
    start = module.head.weight.detach().clone()
    lit_trainer(tmp_path, callback, enable_checkpointing=False).fit(module, loader())
    assert num_hooks(module) == 0
    return module, start


@pytest.mark.parametrize(
    "kind", ["tensor", "loss", "logits", "outputs", "logits aside", "logits twice"]
)
def test_lightning_distils_from_what_the_module_returned(tmp_path: Path, kind: str) -> None:
    module, start = distilled(tmp_path, kind)
    assert not torch.equal(module.head.weight, start)
    assert_same_bits(module, distilled(tmp_path, "tensor")[0])


@pytest.mark.parametrize("kind", ["tensor aside", "tensor twice", "loss aside"])
def test_lightning_says_what_distillation_needs(tmp_path: Path, kind: str) -> None:
    with pytest.raises(RecipeError, match='return {"loss": loss, "logits": logits}'):
        distilled(tmp_path, kind)


def test_lightning_refuses_to_change_a_loss_that_it_does_not_see(tmp_path: Path) -> None:
    module = Lit()
    module.automatic_optimization = False
    callback = lightning_trainer.SparsifyCallback(recipe_of("distillation"))
    with pytest.raises(RecipeError, match="automatic optimization"):
        lit_trainer(tmp_path, callback, enable_checkpointing=False).fit(module, loader())
    assert num_hooks(module) == 0


def test_what_does_not_fit_is_refused_before_training(tmp_path: Path) -> None:
    recipe = Recipe.of(GradualMagnitude(targets=("decoder",), final_sparsity=0.5, end=1.0))
    trainer, _ = hugging(tmp_path, transformers_trainer.SparsifyCallback(recipe))
    with pytest.raises(RecipeError, match="no layer of the model matches 'decoder'"):
        trainer.train()
    with pytest.raises(RecipeError, match="no layer of the model matches 'decoder'"):
        lit_trainer(
            tmp_path, lightning_trainer.SparsifyCallback(recipe), enable_checkpointing=False
        ).fit(Lit(), loader())


class Overflow(Lit):
    """Its third batch has gradients that are not finite."""

    num_batches = 0

    def on_after_backward(self) -> None:
        self.num_batches += 1
        if self.num_batches == 3:
            for parameter in self.parameters():
                assert parameter.grad is not None
                parameter.grad.fill_(torch.inf)


def test_lightning_says_which_steps_its_scaler_skips(tmp_path: Path) -> None:
    module = Overflow()
    trainer = lit_trainer(tmp_path, lightning_trainer.SparsifyCallback(RECIPE))
    with pytest.raises(RunError, match="gradient of .* is not finite in step 2"):
        trainer.fit(module, loader())
    module = Overflow()
    trainer = lit_trainer(tmp_path, lightning_trainer.SparsifyCallback(RECIPE))
    trainer.precision_plugin.scaler = object()
    trainer.fit(module, loader())
    assert all(bool(parameter.isfinite().all()) for parameter in module.parameters())


def test_transformers_says_which_steps_its_scaler_skips(tmp_path: Path) -> None:
    callback = transformers_trainer.SparsifyCallback(RECIPE)
    trainer, model = hugging(tmp_path, callback)
    trainer.create_optimizer()
    optimizer = trainer.optimizer
    control, state = transformers.TrainerControl(), transformers.TrainerState()
    given = {
        "model": model,
        "optimizer": optimizer,
        "train_dataloader": trainer.get_train_dataloader(),
    }
    callback.on_train_begin(trainer.args, state, control, **given)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, torch.inf)
    with pytest.raises(RunError, match="is not finite in step 0"):
        callback.on_pre_optimizer_step(trainer.args, state, control, optimizer=optimizer)
    optimizer.scaler = object()
    callback.on_pre_optimizer_step(trainer.args, state, control, optimizer=optimizer)
    assert all(parameter.grad is None for parameter in model.parameters())
    callback.close()
