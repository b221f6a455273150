"""TRL's SFTTrainer with the objective's figures in its log lines."""

from typing import Any

from torch import Tensor

from otr.training.memory import peak_memory_mb
from otr.training.resumable import ResumableTrainer
from otr.training.router_loss import router_coefficient, set_router_coefficient
from otr.training.sums import Sums


class LoggedTrainer(ResumableTrainer):
    """Each line has means over the supervised tokens since the last one of its kind, whoever else
    logs in between; the one that closes a training has those of the steps after its last line."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sums = {mode: Sums(self.args.device) for mode in ("train", "eval")}
        self.stateful["sums"] = self._sums["train"]

    @property
    def router_aux_loss_coef(self) -> float:
        """The weight of the router's loss, as the model has it now."""
        named = router_coefficient(self.accelerator.unwrap_model(self.model))
        return self._unnamed_coefficient if named is None else named

    @router_aux_loss_coef.setter
    def router_aux_loss_coef(self, coefficient: float) -> None:
        self._unnamed_coefficient = coefficient
        set_router_coefficient(self.accelerator.unwrap_model(self.model), coefficient)

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """One micro-batch forward and backward."""
        self._sums["train"].begin()
        return super().training_step(*args, **kwargs)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate or predict; what an earlier prediction has left in the sums counts no longer."""
        self._sums["eval"].clear()
        return super().evaluation_loop(*args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log the trainer's own figures and the means of the objective's."""
        if "loss" in logs or "total_flos" in logs:
            self._add_figures(logs)
        elif prefix := next((key[: -len("loss")] for key in logs if key.endswith("_loss")), ""):
            self._add_evaluation(logs, prefix)
        super().log(logs, start_time)

    def _add_figures(self, logs: dict[str, float]) -> None:
        means = self._sums["train"].means(self.accelerator)
        if not means:
            return
        self._total_train_tokens += int(means.pop("num_seen")) // self.get_tp_size()
        means.pop("loss")
        logs |= means
        logs["num_tokens"] = self._total_train_tokens
        logs["peak_memory_mb"] = peak_memory_mb()
        self._sums["train"].clear()

    def _add_evaluation(self, logs: dict[str, float], prefix: str) -> None:
        means = self._sums["eval"].means(self.accelerator)
        means.pop("num_seen", None)
        if "aux_loss" in means:
            means["loss"] += self.router_aux_loss_coef * means["aux_loss"]
        seen = self._sums["train"].num_seen(self.accelerator) // self.get_tp_size()
        means["num_tokens"] = self._total_train_tokens + seen
        logs |= {f"{prefix}{name}": value for name, value in means.items()}
        self._sums["eval"].clear()
