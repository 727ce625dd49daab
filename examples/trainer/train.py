"""Train a small language model with Hugging Face's Trainer: random weights from a config, text made here, no download.

    runctl train train.py -- --steps 60

The text is sums in words of digits ("12+7=19;"), one character a token. The Trainer's checkpoints go where runctl looks
for them, and it continues from the one it is given: weights, optimizer, schedule and the state of its random numbers.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

CHARACTERS = "0123456789+=; "
LENGTH = 12  # tokens of one example
STOPPED = 128 + signal.SIGTERM


class Sums(torch.utils.data.Dataset):
    """``count`` sums, the same for the same seed."""

    def __init__(self, count: int, seed: int) -> None:
        draw = random.Random(seed)
        pairs = [(draw.randrange(50), draw.randrange(50)) for _ in range(count)]
        self.lines = [f"{a}+{b}={a + b};".ljust(LENGTH) for a, b in pairs]

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        tokens = torch.tensor([CHARACTERS.index(each) for each in self.lines[index]])
        return {"input_ids": tokens, "labels": tokens}


class LeaveWhenAsked(TrainerCallback):
    """On SIGTERM the Trainer saves after the step it is in, and ends."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self.note)

    def note(self, _number, _frame) -> None:
        """The signal arrived."""
        self.asked = True

    def on_step_end(self, _arguments, _state, control, **_more):
        """Look at it between two steps."""
        if self.asked:
            control.should_save = True
            control.should_training_stop = True
        return control


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--save-every", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(CHARACTERS), n_positions=LENGTH, n_embd=64, n_layer=2, n_head=4,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    leave = LeaveWhenAsked()
    trainer = Trainer(
        model=GPT2LMHeadModel(config),
        args=TrainingArguments(
            output_dir=os.environ.get("RUNCTL_CHECKPOINT_DIR", "checkpoints"),
            max_steps=options.steps,
            per_device_train_batch_size=32,
            learning_rate=3e-3,
            logging_steps=20,
            save_steps=options.save_every,
            save_total_limit=3,
            report_to="none",
            disable_tqdm=not sys.stdout.isatty(),
            use_cpu=True,
        ),
        train_dataset=Sums(2000, seed=0),
        eval_dataset=Sums(200, seed=1),
        callbacks=[leave],
    )
    resume = os.environ.get("RUNCTL_RESUME_PATH")
    if resume:
        print(f"continuing from {resume}", flush=True)
    trainer.train(resume_from_checkpoint=resume)
    if leave.asked:
        print(f"asked to end: saved at step {trainer.state.global_step}")
        return STOPPED
    print(f"test loss {trainer.evaluate()['eval_loss']:.4f} after {trainer.state.global_step} steps")
    return 0


if __name__ == "__main__":
    sys.exit(main())
